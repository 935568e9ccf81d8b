// Package hostapd asks hostapd, by its control socket, which stations are
// connected to an access point or a switch port, and hears who comes and goes.
//
// hostapd has a socket of datagrams for each of its interfaces, in the folder that
// its ctrl_interface names: /run/hostapd/wlan0. A command is a line without an
// end, and so is the answer, but for stations, that of one being
//
//	02:00:5e:10:00:01
//	flags=[AUTH][ASSOC][AUTHORIZED]
//	signal=-52
//	connected_time=3600
//	…
//
// Sent are PING, ATTACH, STATUS, STA-FIRST, STA-NEXT, STA and DETACH, nothing that
// changes anything. After ATTACH events come on the same socket:
//
//	<3>AP-STA-CONNECTED 02:00:5e:10:00:01
//	<3>AP-STA-DISCONNECTED 02:00:5e:10:00:01
//	<3>CTRL-EVENT-TERMINATING
//
// Left out: the "global" socket of hostapd, and all that is told of a station
// besides its MAC, its state, its radio and what it transferred: an 802.1X user's name, for one.
package hostapd
