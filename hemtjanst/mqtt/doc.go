// Package mqtt connects package hemtjanst to a broker: by MQTT 5, or by MQTT 3.1.1
// where the broker knows only that; over TCP, TLS and WebSockets. The protocol itself is paho's.
//
// What differs from paho alone: a connection is read at once into memory, whatever is done with what
// came, because a broker drops what a client doesn't take; what is written goes out in large pieces; messages
// are published without waiting for each one's acknowledgement, and no more of them are on their way than the
// broker takes; packets of absurd size are skipped.
package mqtt
