package inventory

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// progress is what is to be known of one feed of a gateway beside its mark. Who has the
// gateway's turn may use it.
type progress struct {
	// The batch that was kept last, by its hash: one of its number that says something
	// else is another's, or of a gateway that forgot it.
	epoch string
	seq   uint64
	sum   [sha256.Size]byte
	// What became of the one that was refused last.
	refused batchID
	state   lanfolkpb.ProgressReply_State
	why     string
}

type batchID struct {
	epoch string
	seq   uint64
}

// Why a batch is refused.
var (
	errInvalid = errors.New("inventory: can't be read")
	errQuota   = errors.New("inventory: too much")
	errOther   = errors.New("inventory: another batch of that number came before")
	errKind    = errors.New("inventory: no such feed")
)

func kindOf(t reverse.Type) (fleet.Kind, error) {
	switch t {
	case reverse.TypeInventory:
		return fleet.Inventory, nil
	case reverse.TypeFingerprints:
		return fleet.Fingerprints, nil
	}
	return "", fmt.Errorf("%w: %s", errKind, t)
}

// turn takes the gateway's turn, of which end gives it back.
func (i *Inventory) turn(ctx context.Context, id string, t reverse.Type) (g *gateway, p *progress, err error) {
	i.mu.Lock()
	g = i.gateway(id)
	i.mu.Unlock()
	if err := g.begin(ctx); err != nil {
		return nil, nil, err
	}
	if g.feeds[t] == nil {
		g.feeds[t] = &progress{}
	}
	return g, g.feeds[t], nil
}

// Take implements reverse.Feeds.
func (i *Inventory) Take(ctx context.Context, p reverse.Peer, t reverse.Type, m reverse.Meta, data []byte) error {
	kind, err := kindOf(t)
	if err != nil {
		return err
	}
	if p.Insecure || strings.Contains(p.Gateway, separator) {
		i.count.Invalid.Add(1)
		return fmt.Errorf("%w: nobody vouches for %q", errInvalid, p.Gateway)
	}
	batch := fleet.Batch{Gateway: p.Gateway, Kind: kind, Epoch: m.ID, Seq: m.Seq}
	var items []parsed
	if kind == fleet.Inventory {
		items, err = i.read(&batch, data)
	} else {
		batch.Observations, err = feed.ParseRows(data)
		clampRows(batch.Observations, time.Now())
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errInvalid, err)
	}
	g, at, turnErr := i.turn(ctx, p.Gateway, t)
	if turnErr != nil {
		return turnErr
	}
	defer g.end()
	if err == nil {
		err = i.keep(ctx, g, at, batch, items, sha256.Sum256(data))
	}
	if err != nil {
		i.refuse(at, batchID{m.ID, m.Seq}, err)
		return err
	}
	at.why = ""
	i.count.Bytes.Add(uint64(len(data)))
	return nil
}

// read reads a batch of the inventory, and checks all that is in it.
func (i *Inventory) read(batch *fleet.Batch, data []byte) ([]parsed, error) {
	b, err := feed.Parse(data)
	if err != nil {
		return nil, err
	}
	if b.Snapshot != (batch.Seq == 0) {
		return nil, fmt.Errorf("snapshot: %t in batch %d", b.Snapshot, batch.Seq)
	}
	batch.Snapshot, batch.Complete = b.Snapshot, b.Complete
	items := make([]parsed, len(b.Items))
	for n, item := range b.Items {
		if items[n], err = i.texts.parse(item, true); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n+2, item.Key, err)
		}
		batch.Items = append(batch.Items, fleet.Item{Key: item.Key, Doc: item.Doc})
	}
	return items, nil
}

// ahead is how far a gateway's clock may be ahead without a row's time being cut down:
// one from far in the future would stay on top for ever.
const ahead = 24 * time.Hour

func clampRows(rows []lanfolk.Observation, now time.Time) {
	for n := range rows {
		if o := &rows[n]; o.Last.After(now.Add(ahead)) {
			o.Last = now.UTC()
			if o.First.After(o.Last) {
				o.First = o.Last
			}
		}
	}
}

// keep keeps a batch that was checked, in the database first. The gateway's turn is the
// caller's.
func (i *Inventory) keep(ctx context.Context, g *gateway, at *progress, b fleet.Batch, items []parsed, sum [sha256.Size]byte) error {
	if b.Kind == fleet.Inventory {
		if err := i.fits(g, items); err != nil {
			return err
		}
	}
	_, fresh, err := i.o.Feed.Take(ctx, b)
	switch {
	case err != nil:
		return err
	case !fresh && at.epoch == b.Epoch && at.seq == b.Seq && at.sum != sum:
		return errOther
	case !fresh:
		i.count.Again.Add(1)
		return nil
	}
	at.epoch, at.seq, at.sum = b.Epoch, b.Seq, sum
	i.count.Batches.Add(1)
	i.count.Rows.Add(uint64(len(b.Observations)))
	if b.Kind != fleet.Inventory {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.edit(g, b.Epoch)
	for n := range items {
		e.put(items[n])
	}
	if b.Complete {
		e.dropOthers(e.epoch)
	}
	i.tell(e.events())
	return nil
}

// fits says whether there is room for a batch.
func (i *Inventory) fits(g *gateway, items []parsed) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	more, bytes := 0, int64(0)
	for n := range items {
		p := &items[n]
		had, there := g.item(p.key, p.text)
		switch {
		case p.gone && there:
			more--
			bytes -= int64(had.size)
		case !p.gone:
			if !there {
				more++
			}
			bytes += int64(p.size - had.size)
		}
	}
	l := i.o.Limits
	switch {
	case more > 0 && g.items+more > l.Items:
		return fmt.Errorf("%w: %d items of one gateway, at most %d", errQuota, g.items+more, l.Items)
	case bytes > 0 && g.bytes+bytes > l.Bytes:
		return fmt.Errorf("%w: %d bytes of one gateway, at most %d", errQuota, g.bytes+bytes, l.Bytes)
	case more > 0 && i.items+more > l.All:
		return fmt.Errorf("%w: %d items of all gateways, at most %d", errQuota, i.items+more, l.All)
	}
	return nil
}

func (g *gateway) item(k feed.Key, key string) (item, bool) {
	switch k.Kind {
	case feed.Device:
		if d := g.devices[k.ID]; d != nil {
			return d.item, true
		}
	case feed.Service:
		if s := g.services[k.ID]; s != nil {
			return s.item, true
		}
	default:
		x, there := g.rest[key]
		return x, there
	}
	return item{}, false
}

// refuse notes why a batch isn't kept, and counts it.
func (i *Inventory) refuse(at *progress, b batchID, why error) {
	at.refused, at.why = b, why.Error()
	switch c := &i.count; {
	case errors.Is(why, errInvalid), errors.Is(why, fleet.ErrInvalid):
		at.state = lanfolkpb.ProgressReply_REFUSED
		c.Invalid.Add(1)
	case errors.Is(why, errQuota), errors.Is(why, fleet.ErrQuota):
		at.state = lanfolkpb.ProgressReply_REFUSED
		c.Quota.Add(1)
	case errors.Is(why, errOther), errors.Is(why, fleet.ErrEpoch):
		at.state = lanfolkpb.ProgressReply_SNAPSHOT
		c.Epoch.Add(1)
	case errors.Is(why, fleet.ErrGap):
		at.state = lanfolkpb.ProgressReply_OPEN
		c.Gap.Add(1)
	default:
		at.state = lanfolkpb.ProgressReply_RETRY
		c.Store.Add(1)
		i.log.Debug("a batch can't be kept", "err", why)
	}
}

// Progress implements reverse.Feeds. What of the gateway was under way is known by then.
func (i *Inventory) Progress(ctx context.Context, p reverse.Peer, t reverse.Type, epoch string) (*lanfolkpb.ProgressReply, error) {
	kind, err := kindOf(t)
	if err != nil || p.Insecure {
		return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_REFUSED, Reason: fmt.Sprint(errKind)}, nil
	}
	g, at, err := i.turn(ctx, p.Gateway, t)
	if err != nil {
		return nil, err
	}
	defer g.end()
	mark, err := i.o.Feed.Mark(ctx, p.Gateway, kind)
	reply := &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_OPEN, NextSeq: mark.Next}
	switch {
	case err != nil:
		reply.State, reply.Reason = lanfolkpb.ProgressReply_RETRY, err.Error()
	case at.why != "" && at.refused.epoch == epoch:
		// What was asked about is the batch that was refused: it comes right after it.
		reply.State, reply.Reason = at.state, at.why
		at.why = ""
	case mark.Epoch != epoch:
		reply.State, reply.Reason = lanfolkpb.ProgressReply_SNAPSHOT, "the epoch is unknown here"
	}
	return reply, nil
}
