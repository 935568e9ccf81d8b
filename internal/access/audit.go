package access

import (
	"context"
	"fmt"
	"iter"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Entries returns a page of the audit, the newest first.
func (d *Desk) Entries(ctx context.Context, who Who, f fleet.AuditFilter) ([]fleet.Entry, error) {
	if err := who.MayManage(); err != nil {
		return nil, fmt.Errorf("access: read the audit: %w", err)
	}
	return d.Audit.Entries(ctx, f)
}

// Seal returns the audit's end, signed.
func (d *Desk) Seal(ctx context.Context, who Who) (fleet.Seal, error) {
	err := who.MayManage()
	if err == nil && d.SealKey == nil {
		err = fmt.Errorf("%w: it has no key to sign the audit with", ErrOff)
	}
	var head fleet.Head
	if err == nil {
		head, err = d.Audit.Head(ctx)
	}
	if err != nil {
		return fleet.Seal{}, fmt.Errorf("access: seal the audit: %w", err)
	}
	return head.Sign(d.SealKey), nil
}

// Start returns what stands for the audit's entries that were let go.
func (d *Desk) Start(ctx context.Context, who Who) (fleet.Checkpoint, error) {
	if err := who.MayManage(); err != nil {
		return fleet.Checkpoint{}, fmt.Errorf("access: read the audit: %w", err)
	}
	return d.Audit.Start(ctx)
}

// AllEntries returns every entry of the audit, from the first on that is kept.
func (d *Desk) AllEntries(ctx context.Context, who Who) (iter.Seq2[fleet.Entry, error], error) {
	if err := who.MayManage(); err != nil {
		return nil, fmt.Errorf("access: read the audit: %w", err)
	}
	return d.Audit.All(ctx), nil
}
