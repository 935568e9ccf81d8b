package node

import (
	"context"
	"errors"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, where it started us, how we are. An error says that
// nobody listens, which harms nothing.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// runWatchdog tells systemd that we live, twice as often as it wants to hear it.
func runWatchdog(ctx context.Context) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return err
	}
	if every == 0 {
		return unavailable{errors.New("systemd asks for no sign of life"), ""}
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			notify(daemon.SdNotifyWatchdog)
		}
	}
}
