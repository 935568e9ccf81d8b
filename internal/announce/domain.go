package announce

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// Registration is how a service stands in a domain.
type Registration struct {
	unicast.RegistrationEvent
	// Dead is why the service isn't registered, nil while it works or has not been
	// tried yet.
	Dead error
}

// InDomain registers the service by unicast DNS, as the Registrar says. addresses
// are those of its host, each time that they change; nil if they don't. changed is told
// how it stands at each change, by one goroutine.
func InDomain(r *unicast.Registrar, addresses <-chan []netip.Addr, changed func(Registration)) Way {
	return func(ctx context.Context, v *Verdict) error {
		offer := r.Offer
		works, turned, _ := v.now()
		offer.Off = !works
		if err := r.Update(offer); err != nil {
			return fmt.Errorf("announce: %w", err)
		}
		r.Changed = func(ev unicast.RegistrationEvent) {
			_, _, dead := v.now()
			changed(Registration{ev, dead})
		}
		tasks, ctx := errgroup.WithContext(ctx)
		tasks.Go(func() error {
			if err := r.Run(ctx); err != nil {
				return fmt.Errorf("announce: %w", err)
			}
			return nil
		})
		tasks.Go(func() error {
			for {
				select {
				case <-turned:
					works, turned, _ = v.now()
					offer.Off = !works
				case now, ok := <-addresses:
					if !ok {
						addresses = nil
						continue
					}
					if len(now) == 0 {
						continue // the machine is off the network; it most likely comes back as it was
					}
					offer.Addresses = now
				case <-ctx.Done():
					return nil
				}
				if err := r.Update(offer); err != nil {
					return fmt.Errorf("announce: %w", err)
				}
			}
		})
		return tasks.Wait()
	}
}

// ReadKey reads a TSIG key from a file. open says that it isn't closed to others, so
// that anybody on this machine may have the secret.
func ReadKey(path string) (key unicast.Key, open bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return key, false, fmt.Errorf("announce: TSIG key: %w", err)
	}
	if info.IsDir() || info.Mode().IsRegular() && info.Size() > maxKeyFile {
		return key, false, fmt.Errorf("announce: TSIG key: %s is no file with a key", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key, false, fmt.Errorf("announce: TSIG key: %w", err)
	}
	if key, err = unicast.ParseKey(text); err != nil {
		return key, false, fmt.Errorf("%s: %w", path, err)
	}
	return key, info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0, nil
}

// maxKeyFile is the most that a file with a key may have, in bytes.
const maxKeyFile = 64 << 10
