// Package daemon is what lanfolk's daemons, the node and the hub, have in common:
// tasks that are supervised and show in the status, a state folder that belongs
// to one process, the API's socket, and systemd (sd_notify(3)).
package daemon
