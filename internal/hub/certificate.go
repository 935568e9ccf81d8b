package hub

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAfter is how long a certificate is given out before its files are looked at again.
const lookAfter = time.Second

// A keyPair is a certificate in files, which are read again when they have changed.
type keyPair struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	looked time.Time
	seen   [2]version // of the files, when they were read last
}

// version tells two contents of a file apart.
type version struct {
	size     int64
	modified time.Time
	file     fs.FileInfo
}

func (v version) same(o version) bool {
	return v.size == o.size && v.modified.Equal(o.modified) && os.SameFile(v.file, o.file)
}

// read reads the files.
func (k *keyPair) read() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, err := k.versions()
	if err != nil {
		return err
	}
	return k.load(now)
}

// get implements tls.Config's GetCertificate. Files that can't be read, or don't fit
// each other, as they are written one after the other, leave the last certificate.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < lookAfter {
		return k.pair, nil
	}
	k.looked = time.Now()
	now, err := k.versions()
	if err == nil && (!now[0].same(k.seen[0]) || !now[1].same(k.seen[1])) {
		if err = k.load(now); err == nil {
			k.log.Info("the page's certificate was read again", "file", k.cert, "until", k.pair.Leaf.NotAfter.UTC())
		}
	}
	if err != nil {
		k.log.Warn("the page's certificate can't be read again; the last one stays", "err", err)
	}
	return k.pair, nil
}

func (k *keyPair) versions() (now [2]version, err error) {
	for i, path := range []string{k.cert, k.key} {
		info, err := os.Stat(path)
		if err != nil {
			return now, fmt.Errorf("hub: the page's certificate: %w", err)
		}
		now[i] = version{info.Size(), info.ModTime(), info}
	}
	return now, nil
}

func (k *keyPair) load(now [2]version) error {
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err == nil && time.Now().After(pair.Leaf.NotAfter) {
		err = errors.New("it has expired")
	}
	if err != nil {
		return fmt.Errorf("hub: the page's certificate: %s: %w", k.cert, err)
	}
	k.pair, k.seen, k.looked = &pair, now, time.Now()
	return nil
}
