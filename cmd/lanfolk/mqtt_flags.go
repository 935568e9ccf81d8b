package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
)

// mqttClient are the flags of commands that connect to a broker.
type mqttClient struct {
	url          string
	user         string
	passwordFile string
	ca           string
	cert, key    string
	version      string
	tenant       string
	clientID     string
	keepAlive    time.Duration
}

// The environment that they fall back on.
const (
	envBroker   = "LANFOLK_MQTT_BROKER"
	envUser     = "LANFOLK_MQTT_USER"
	envPassword = "LANFOLK_MQTT_PASSWORD"
	envCA       = "LANFOLK_MQTT_CA"
	envCert     = "LANFOLK_MQTT_CERT"
	envKey      = "LANFOLK_MQTT_KEY"
)

// mqttClientHelp is what these commands say about the flags.
const mqttClientHelp = `The broker, user, password, CA and certificate may also stand in the environment:
` + envBroker + `, ` + envUser + `, ` + envPassword + `,
` + envCA + `, ` + envCert + `, ` + envKey + `. A user and password may stand in the URL.`

func (x *mqttClient) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&x.url, "broker", "", "the broker's `URL`: mqtt, mqtts, ws or wss")
	fl.StringVar(&x.user, "user", "", "the user's `name`")
	fl.StringVar(&x.passwordFile, "password-file", "", "the `FILE` whose first line is the password")
	fl.StringVar(&x.ca, "ca", "", "trust the authorities in this PEM `FILE`, and no others")
	fl.StringVar(&x.cert, "cert", "", "the client certificate's PEM `FILE`")
	fl.StringVar(&x.key, "key", "", "the PEM `FILE` of its private key")
	fl.StringVar(&x.version, "mqtt-version", "auto", "the MQTT version: auto, 5 or 3.1.1")
	fl.StringVar(&x.tenant, "tenant", "", "put this `name` and a slash before every topic")
	fl.StringVar(&x.clientID, "client-id", "", "the MQTT client `id`")
	fl.DurationVar(&x.keepAlive, "keep-alive", mqtt.DefaultKeepAlive, "how often to say that the connection lives, in whole seconds")
}

// broker reads the flags.
func (x *mqttClient) broker(a app) (*mqtt.Broker, error) {
	fallBack := func(flag *string, env string) {
		if *flag == "" {
			*flag = a.env(env)
		}
	}
	fallBack(&x.url, envBroker)
	fallBack(&x.user, envUser)
	fallBack(&x.ca, envCA)
	fallBack(&x.cert, envCert)
	fallBack(&x.key, envKey)
	if x.url == "" {
		return nil, usagef("--broker is missing: a URL such as mqtt://192.168.0.1")
	}
	if x.keepAlive < time.Second || x.keepAlive%time.Second != 0 || x.keepAlive > 0xffff*time.Second {
		return nil, usagef("--keep-alive %v: want whole seconds, 1s to %v", x.keepAlive, 0xffff*time.Second)
	}
	if x.tenant != "" {
		if err := (hemtjanst.Topics{Tenant: x.tenant}).Check(); err != nil {
			return nil, usage{fmt.Errorf("--tenant: %w", err)}
		}
	}
	b := &mqtt.Broker{URL: x.url, Dial: (&net.Dialer{}).DialContext, User: x.user}
	switch x.version {
	case "auto":
	case "5":
		b.Version = mqtt.V5
	case "3.1.1":
		b.Version = mqtt.V311
	default:
		return nil, usagef("--mqtt-version %q: want auto, 5 or 3.1.1", x.version)
	}
	if err := b.Check(); err != nil {
		return nil, usage{fmt.Errorf("--broker: %w", err)}
	}
	var err error
	if b.Password, err = x.password(a); err != nil {
		return nil, err
	}
	b.TLS, err = x.tls()
	return b, err
}

func (x *mqttClient) password(a app) (string, error) {
	if x.passwordFile == "" {
		return a.env(envPassword), nil
	}
	text, err := os.ReadFile(x.passwordFile)
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// tls returns nil where the machine's own authorities do and no certificate is
// shown.
func (x *mqttClient) tls() (*tls.Config, error) {
	if x.ca == "" && x.cert == "" && x.key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if x.ca != "" {
		pem, err := os.ReadFile(x.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca: no certificate in %s", x.ca)
		}
	}
	if x.cert != "" || x.key != "" {
		pair, err := tls.LoadX509KeyPair(x.cert, x.key)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
