// Package mqtt plays the scenarios of testdata/mqtt-cases.json with the real
// commands, on Mosquitto and on lanfolk's own broker, each in a network namespace
// of its own.
package mqtt
