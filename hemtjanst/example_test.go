package hemtjanst_test

import (
	"context"
	"fmt"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
)

// A lamp announces itself until it is told to stop.
func ExampleAnnouncer() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	meta, err := hemtjanst.ParseMetadata([]byte(`{"name":"Kitchen","type":"light","features":{"on":{}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	lamp := &hemtjanst.Announcer{
		Broker:   &mqtt.Broker{URL: "mqtt://broker.local", Dial: (&net.Dialer{}).DialContext},
		ID:       "lamp-7",
		Root:     "home/light/7",
		Metadata: meta,
	}
	if err := lamp.Run(ctx); err != nil {
		fmt.Println(err)
	}
}

// A bridge connects devices that come, change and go.
func ExampleBridge() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	bridge := &hemtjanst.Bridge{
		Broker:   &mqtt.Broker{URL: "mqtts://anna:secret@broker.local", Dial: (&net.Dialer{}).DialContext},
		ClientID: "zigbee-cellar", // the same after a restart
	}
	go func() {
		_ = bridge.Put(hemtjanst.BridgeDevice{ID: "lamp-7", Root: "home/light/7", Reachable: true})
		time.Sleep(time.Minute)
		_ = bridge.Put(hemtjanst.BridgeDevice{ID: "lamp-7", Root: "home/light/7", Reachable: false})
		time.Sleep(time.Minute)
		bridge.Remove("lamp-7")
	}()
	if err := bridge.Run(ctx); err != nil {
		fmt.Println(err)
	}
}

// A watcher prints who is there, and then what changes.
func ExampleWatcher() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w := &hemtjanst.Watcher{
		Broker: &mqtt.Broker{URL: "mqtt://broker.local", Dial: (&net.Dialer{}).DialContext},
		Event: func(e hemtjanst.Event) {
			fmt.Println(e.Kind, e.Device.ID, e.Device.State)
		},
	}
	if err := w.Run(ctx); err != nil {
		fmt.Println(err)
	}
}

// The model alone, for who has messages from elsewhere.
func ExampleModel() {
	var m hemtjanst.Model
	m.Begin()
	for _, msg := range []hemtjanst.Message{
		{Topic: "device/lamp-7", Payload: []byte(`{"root":"home/light/7","providerID":"9d3a"}`)},
		{Topic: "current/home/light/7/reachable", Payload: []byte("1")},
	} {
		m.Observe(time.Now(), msg, nil)
	}
	for _, e := range m.Complete(time.Now(), true, nil) {
		fmt.Println(e.Kind, e.Device.ID, e.Device.Said, e.Device.State)
	}
	// Output:
	// device added lamp-7 reachable unreachable
	// complete  unknown unknown
}
