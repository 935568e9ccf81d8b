// Package hemtjanst is Hemtjänst protokoll v1, announce and discover: devices say
// on an MQTT broker what they are and whether they can be reached, and the
// broker's last wills speak for those that can't any more.
//
// All state is in retained messages. A tenant's topics all begin with its name
// and a slash.
//
//	device/<id>                  what a device is: a JSON object, [Metadata]
//	provider/<id>                who connects devices (a bridge): any payload
//	current/<root>/reachable     "1" or "0"
//	current/<root>/<feature>     a feature's state      (devices and their users,
//	desired/<root>/<feature>     what it should become   not this package)
//
// A device names its root topic ("root") and, if a bridge connects it, the bridge
// ("providerID"):
//
//	device/lamp-7    {"name":"Kitchen","type":"light","root":"home/light/7","providerID":"9d3…"}
//	                                                           │                         │
//	current/home/light/7/reachable   1   ◄─────────────────────┘                         │
//	provider/9d3…                    {}  ◄───────────────────────────────────────────────┘
//
// # Who says what
//
//	            will (retained, QoS 2)            on connect, retained             leaving
//	single      current/<root>/reachable  0       device/<id>                      reachable 0
//	device                                        reachable 1
//	bridge      provider/<id>  (empty)            provider/<id>                    reachable 0 each
//	                                              device/<id>, reachable each      provider/<id> empty
//
// When a bridge dies its devices' reachable topics still say 1. Whoever watches knows
// better, because the provider is gone; a [Janitor] writes it down. Of several janitors one works: its name is
// retained on lanfolk/janitor, which isn't the protocol's.
//
// # Names
//
// Ids and roots are topic levels joined by slashes; an id may have several, too. No level is
// empty, and none holds a wildcard (+, #), a $ or a control character, which brokers
// refuse. A topic has at most 65,535 bytes of UTF-8. What has another form on a broker is counted
// and left alone.
//
// # Roles
//
// An [Announcer] is a single device, a [Bridge] connects many. A [Watcher] tells who is there:
// all that is retained first, then that it is complete, then what changes. What it knows is in a
// [Model], which is told the time and the messages and can be used alone.
//
// The roles need a [Transport]; package mqtt has one for MQTT 5 and 3.1.1.
//
// # Not supported
//
// Setting desired state, and features' values. Earlier forms of Hemtjänst with
// announce/ and discover/ topics.
package hemtjanst
