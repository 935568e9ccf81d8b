package hub

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lanfolk/lanfolk/internal/daemon"
)

// statusCollector turns the status into metrics.
type statusCollector struct {
	hub *Hub

	build, healthy                   *prometheus.Desc
	partUp, partFailures, partEvents *prometheus.Desc
	storeHealthy                     *prometheus.Desc
	gateways, commands               *prometheus.Desc
	resultBytes, resultRoom, results *prometheus.Desc
	devices, services                *prometheus.Desc
	auditEntries, auditSealed        *prometheus.Desc
	syncthingServed, syncthingState  *prometheus.Desc
}

func newStatusCollector(h *Hub) *statusCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lanfolk_"+name, help, labels, nil)
	}
	return &statusCollector{
		hub:          h,
		build:        desc("build_info", "The version, as a label.", "version"),
		healthy:      desc("healthy", "1 if all that should work does."),
		partUp:       desc("part_up", "1 if a part of the hub runs, 0 if it failed; parts that are off are left out.", "part"),
		partFailures: desc("part_failures_total", "How often a part failed.", "part"),
		partEvents:   desc("part_events_total", "What a part counts: commands, chunks, refusals by reason.", "part", "event"),
		storeHealthy: desc("store_healthy", "1 if the database takes what is written."),
		gateways:     desc("hub_gateways", "Gateways on record: all, those online, those for which nobody vouches, and those revoked.", "state"),
		commands:     desc("hub_commands_outstanding", "Commands that haven't ended."),
		resultBytes:  desc("hub_result_bytes", "What commands' results take on the disk."),
		resultRoom:   desc("hub_result_max_bytes", "What they may take."),
		results:      desc("hub_results", "Commands' results on the disk, by whether they are whole.", "whole"),
		devices:      desc("hub_devices", "Devices that the gateways tell of."),
		services:     desc("hub_services", "Services that the gateways tell of."),
		auditEntries: desc("hub_audit_entries", "Entries of the audit."),
		auditSealed:  desc("hub_audit_sealed_entries", "Entries up to the last one that is sealed."),

		syncthingServed: desc("syncthing_server_devices", "Devices that the global server of Syncthing's discovery knows."),
		syncthingState:  desc("syncthing_server_state_bytes", "Size of the file that holds what the server knows."),
	}
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.build, c.healthy, c.partUp, c.partFailures, c.partEvents, c.storeHealthy, c.gateways, c.commands,
		c.resultBytes, c.resultRoom, c.results, c.devices, c.services, c.auditEntries, c.auditSealed,
		c.syncthingServed, c.syncthingState,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := c.hub.Status(context.Background())
	gauge(c.build, 1, s.Version)
	gauge(c.healthy, daemon.Truth(s.Healthy))
	for _, p := range s.Parts {
		if p.State != daemon.Off {
			gauge(c.partUp, daemon.Truth(p.State == daemon.Running), p.Name)
		}
		count(c.partFailures, uint64(p.Failures), p.Name)
		for event, n := range p.Counters {
			count(c.partEvents, n, p.Name, event)
		}
	}
	gauge(c.storeHealthy, daemon.Truth(s.Store.Healthy))
	gauge(c.gateways, float64(s.Gateways.Total), "all")
	gauge(c.gateways, float64(s.Gateways.Online), "online")
	gauge(c.gateways, float64(s.Gateways.Insecure), "insecure")
	gauge(c.gateways, float64(s.Gateways.Revoked), "revoked")
	gauge(c.commands, float64(s.Commands.Outstanding))
	gauge(c.resultBytes, float64(s.Results.Bytes))
	gauge(c.resultRoom, float64(s.Results.MaxBytes))
	gauge(c.results, float64(s.Results.Whole), "yes")
	gauge(c.results, float64(s.Results.Partial), "no")
	gauge(c.devices, float64(s.Inventory.Devices))
	gauge(c.services, float64(s.Inventory.Services))
	count(c.auditEntries, s.Audit.Entries)
	gauge(c.auditSealed, float64(s.Audit.Sealed))
	if devices, bytes, ok := c.hub.syncthing.Size(); ok {
		gauge(c.syncthingServed, float64(devices))
		gauge(c.syncthingState, float64(bytes))
	}
}
