package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// BenchmarkFleetStatus writes what a hub writes for a status command to 10,000 gateways that
// all answer at once, on SQLite with synchronous=FULL: intents, commands, sent, results,
// ends and the audit's outcomes.
func BenchmarkFleetStatus(b *testing.B) {
	const gateways = 10_000
	ctx := context.Background()
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		db, err := store.Open(ctx, filepath.Join(dir, "lanfolk.db"), store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		f, err := fleet.Open(ctx, db, fleet.Options{BlobFolder: filepath.Join(dir, "results")})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		intents, commands := make([]fleet.Entry, gateways), make([]fleet.Command, gateways)
		for n := range gateways {
			id := fmt.Sprintf("01JN%022d", n)
			commands[n] = fleet.Command{ID: id, Gateway: fmt.Sprint("g", n), Line: "status", Created: time.Now()}
			intents[n] = fleet.Entry{Time: time.Now(), Who: "ann", What: "run", Gateway: commands[n].Gateway, Ref: id, Detail: "status"}
		}
		begin := time.Now()
		if err := f.Commands.Create(ctx, intents, commands...); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/created")
		var all sync.WaitGroup
		for _, c := range commands {
			all.Go(func() {
				if err := answer(ctx, f, c.ID, c.Gateway); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		b.StopTimer()
		f.Close()
		db.Close()
		b.StartTimer()
	}
}

// answer takes a command from sent to its end.
func answer(ctx context.Context, f *fleet.Fleet, id, gateway string) error {
	if _, err := fleet.Amend(ctx, f.Commands, id, func(c *fleet.Command) bool { c.State, c.Sent = fleet.Sent, time.Now(); return true }); err != nil {
		return err
	}
	w, err := f.Blobs.Write(ctx, id, gateway)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Finish(ctx, make([]byte, 1000), fleet.BlobInfo{Size: 1000, SHA256: [32]byte{1}, Stored: time.Now()}); err != nil {
		return err
	}
	c, err := f.Commands.Command(ctx, id)
	if err != nil {
		return err
	}
	c.State, c.Ended = fleet.OK, time.Now()
	_, err = f.Commands.Update(ctx, c, fleet.Entry{Time: time.Now(), Who: "hub", What: "result", Gateway: gateway, Ref: id, Outcome: "ok"})
	return err
}
