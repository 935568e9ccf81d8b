package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub"
)

// printHubStatus writes a hub's status for people.
func printHubStatus(w io.Writer, f format, s hub.Status, now time.Time) error {
	out := bufio.NewWriter(w)
	row := rows(out)
	health := "healthy"
	if !s.Healthy {
		health = "NOT HEALTHY"
	}
	row("lanfolk hub", fmt.Sprintf("%s, %s, started %s (pid %d)", s.Version, health, ago(now, s.Started), s.PID))
	row("name", s.Name)
	row("page", s.Page)
	row("state", s.State)
	row("config", s.Config)
	row("grpc", s.GRPC+"; join strings name "+strings.Join(s.Addresses, " "))
	if s.Insecure != "" {
		row("INSECURE", "clients without TLS are believed what they say they are at "+s.Insecure)
	}
	store := s.Store.Path
	if !s.Store.Healthy {
		store += ": " + s.Store.Error
		if s.Store.Since != nil {
			store += ", failing since " + s.Store.Since.Local().Format(time.TimeOnly)
		}
	}
	row("store", store)
	fmt.Fprintln(out)
	gateways := fmt.Sprintf("%d online of %d", s.Gateways.Online, s.Gateways.Total)
	if n := s.Gateways.Insecure; n > 0 {
		gateways += fmt.Sprintf(", %d insecure", n)
	}
	if n := s.Gateways.Revoked; n > 0 {
		gateways += fmt.Sprintf(", %d revoked", n)
	}
	row("gateways", gateways)
	row("commands", fmt.Sprintf("%d outstanding", s.Commands.Outstanding))
	row("results", fmt.Sprintf("%d whole, %d on their way, %s of %s", s.Results.Whole, s.Results.Partial, mebibytes(s.Results.Bytes), mebibytes(s.Results.MaxBytes)))
	row("inventory", fmt.Sprintf("%d devices, %d services", s.Inventory.Devices, s.Inventory.Services))
	audit := fmt.Sprintf("%d entries", s.Audit.Entries)
	if s.Audit.SealedAt != nil {
		audit += fmt.Sprintf(", sealed up to %d %s", s.Audit.Sealed, ago(now, *s.Audit.SealedAt))
	}
	if s.Audit.Error != "" {
		audit += "; " + s.Audit.Error
	}
	row("audit", audit)
	fmt.Fprintln(out)
	statusParts(row, f, s.Parts)
	return out.Flush()
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
