package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk"
)

// The inventory is kept as documents: the registry alone knows what they mean,
// reads all of them at its start and never asks for one by a field. The types
// below are the form on the disk: their names stay when the domain's change,
// fields may be added. Strings are as toText makes them.
type (
	deviceDoc struct {
		MergedInto  string          `json:"merged_into,omitempty"`
		Identifiers []identifierDoc `json:"identifiers,omitempty"`
		Heard       []string        `json:"heard,omitempty"`
		Protocols   []string        `json:"protocols,omitempty"`
		Gateway     string          `json:"gateway,omitempty"`
		FirstSeen   time.Time       `json:"first_seen,omitzero"`
		LastSeen    time.Time       `json:"last_seen,omitzero"`
		Names       []string        `json:"names,omitempty"` // a person said these
		Tags        []string        `json:"tags,omitempty"`
		Separated   []identifierDoc `json:"separated,omitempty"`
	}
	identifierDoc struct {
		Kind    string `json:"kind"`
		Value   string `json:"value"`
		Gateway string `json:"gateway,omitempty"`
		Link    string `json:"link,omitempty"`
	}
	sightingDoc struct {
		Protocol    string            `json:"protocol"`
		Gateway     string            `json:"gateway,omitempty"`
		Link        string            `json:"link,omitempty"`
		Source      string            `json:"source,omitempty"`
		Self        bool              `json:"self,omitempty"`
		Key         string            `json:"key"`
		Kind        string            `json:"kind"`
		Name        string            `json:"name,omitempty"`
		Type        string            `json:"type,omitempty"`
		Identifiers []identifierDoc   `json:"identifiers,omitempty"`
		Host        string            `json:"host,omitempty"`
		Addresses   []netip.Addr      `json:"addresses,omitempty"`
		Port        uint16            `json:"port,omitempty"`
		Attributes  map[string]string `json:"attributes,omitempty"`
		What        string            `json:"what,omitempty"`
		State       string            `json:"state,omitempty"`
		Time        time.Time         `json:"time,omitzero"`
		Lifetime    time.Duration     `json:"lifetime,omitempty"` // nanoseconds
		Gone        bool              `json:"gone,omitempty"`
		Device      string            `json:"device,omitempty"`
		FirstSeen   time.Time         `json:"first_seen,omitzero"`
		Ended       bool              `json:"ended,omitempty"`
	}
)

// Save implements lanfolk.Sink.
func (d *DB) Save(ctx context.Context, b lanfolk.Batch) error {
	return d.inTx(ctx, "save the inventory", func(tx *sql.Tx) error {
		if err := each(ctx, tx, sqlPutDevice, b.Devices, deviceArgs); err != nil {
			return err
		}
		if err := each(ctx, tx, sqlForgetDevice, b.Forgotten, func(id string) ([]any, error) {
			return []any{toText(id)}, nil
		}); err != nil {
			return err
		}
		if err := each(ctx, tx, sqlPutSighting, b.Sightings, sightingArgs); err != nil {
			return err
		}
		return each(ctx, tx, sqlForgetSighting, b.Ended, func(id lanfolk.ID) ([]any, error) {
			return []any{sightingKey(id)}, nil
		})
	})
}

// Commit implements lanfolk.Journal.
func (d *DB) Commit(ctx context.Context, records []lanfolk.DeviceRecord) error {
	return d.inTx(ctx, "keep what was said", func(tx *sql.Tx) error {
		return each(ctx, tx, sqlPutDevice, records, deviceArgs)
	})
}

// Snapshot returns the inventory as it was saved, for the registry's Restore.
func (d *DB) Snapshot(ctx context.Context) (lanfolk.Snapshot, error) {
	var s lanfolk.Snapshot
	// One transaction, so that a batch that is saved meanwhile is in it as a
	// whole or not at all.
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelDefault})
	if err != nil {
		return s, fail("read the inventory", err)
	}
	defer func() { _ = tx.Rollback() }() // it changed nothing
	s.Devices, err = documents(ctx, tx, sqlDevices, deviceOf)
	if err == nil {
		s.Sightings, err = documents(ctx, tx, sqlSightings, sightingOf)
	}
	if err != nil {
		return lanfolk.Snapshot{}, fail("read the inventory", err)
	}
	return s, nil
}

// documents reads all rows of a table of documents.
func documents[D, T any](ctx context.Context, tx *sql.Tx, query string, value func(key sql.RawBytes, doc *D) T) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var key, text sql.RawBytes
		if err := rows.Scan(&key, &text); err != nil {
			return nil, err
		}
		var doc D
		if err := json.Unmarshal(text, &doc); err != nil {
			return nil, fmt.Errorf("%w: document %q: %w", ErrDamaged, key, err)
		}
		all = append(all, value(key, &doc))
	}
	return all, rows.Err()
}

func deviceArgs(r lanfolk.DeviceRecord) ([]any, error) {
	doc, err := json.Marshal(deviceDoc{
		MergedInto:  toText(r.MergedInto),
		Identifiers: convert(r.Identifiers, identifierDocOf),
		Heard:       convert(r.Heard, toText),
		Protocols:   convert(r.Protocols, toText),
		Gateway:     toText(r.Gateway),
		FirstSeen:   inRange(r.FirstSeen),
		LastSeen:    inRange(r.LastSeen),
		Names:       convert(r.Said.Names, toText),
		Tags:        convert(r.Said.Tags, toText),
		Separated:   convert(r.Said.Separated, identifierDocOf),
	})
	return []any{toText(r.ID), string(doc)}, err
}

func deviceOf(id sql.RawBytes, d *deviceDoc) lanfolk.DeviceRecord {
	return lanfolk.DeviceRecord{
		ID:          fromText(string(id)),
		MergedInto:  fromText(d.MergedInto),
		Identifiers: convert(d.Identifiers, identifierOf),
		Heard:       convert(d.Heard, fromText),
		Protocols:   convert(d.Protocols, fromText),
		Gateway:     fromText(d.Gateway),
		FirstSeen:   d.FirstSeen,
		LastSeen:    d.LastSeen,
		Said: lanfolk.Said{
			Names:     convert(d.Names, fromText),
			Tags:      convert(d.Tags, fromText),
			Separated: convert(d.Separated, identifierOf),
		},
	}
}

func sightingArgs(x lanfolk.StoredSighting) ([]any, error) {
	s := &x.Sighting
	doc, err := json.Marshal(sightingDoc{
		Protocol: toText(s.Origin.Protocol), Gateway: toText(s.Origin.Gateway), Link: toText(s.Origin.Link),
		Source: toText(s.Origin.Source), Self: s.Origin.Self,
		Key: toText(s.Key), Kind: toText(string(s.Kind)), Name: toText(s.Name), Type: toText(s.Type),
		Identifiers: convert(s.Identifiers, identifierDocOf),
		Host:        toText(s.Host), Addresses: keepable(s.Addresses), Port: s.Port,
		Attributes: convertMap(s.Attributes, toText),
		What:       toText(s.What), State: toText(string(s.State)),
		Time: inRange(s.Time), Lifetime: s.Lifetime, Gone: s.Gone,
		Device: toText(x.Device), FirstSeen: inRange(x.FirstSeen), Ended: x.Ended,
	})
	return []any{sightingKey(s.ID()), string(doc)}, err
}

func sightingOf(_ sql.RawBytes, d *sightingDoc) lanfolk.StoredSighting {
	return lanfolk.StoredSighting{
		Sighting: lanfolk.Sighting{
			Origin: lanfolk.Origin{
				Protocol: fromText(d.Protocol), Gateway: fromText(d.Gateway), Link: fromText(d.Link),
				Source: fromText(d.Source), Self: d.Self,
			},
			Key: fromText(d.Key), Kind: lanfolk.Kind(fromText(d.Kind)), Name: fromText(d.Name), Type: fromText(d.Type),
			Identifiers: convert(d.Identifiers, identifierOf),
			Host:        fromText(d.Host), Addresses: d.Addresses, Port: d.Port,
			Attributes: convertMap(d.Attributes, fromText),
			What:       fromText(d.What), State: lanfolk.State(fromText(d.State)),
			Time: d.Time, Lifetime: d.Lifetime, Gone: d.Gone,
		},
		Device:    fromText(d.Device),
		FirstSeen: d.FirstSeen,
		Ended:     d.Ended,
	}
}

func sightingKey(id lanfolk.ID) []byte {
	return keyOf(id.Protocol, id.Gateway, id.Link, string(id.Kind), id.Key)
}

func identifierDocOf(i lanfolk.Identifier) identifierDoc {
	return identifierDoc{toText(string(i.Kind)), toText(i.Value), toText(i.Gateway), toText(i.Link)}
}

func identifierOf(d identifierDoc) lanfolk.Identifier {
	return lanfolk.Identifier{
		Kind: lanfolk.IdentifierKind(fromText(d.Kind)), Value: fromText(d.Value),
		Gateway: fromText(d.Gateway), Link: fromText(d.Link),
	}
}

// convert returns what f makes of each element, nil for none.
func convert[A, B any](from []A, f func(A) B) []B {
	if len(from) == 0 {
		return nil
	}
	to := make([]B, len(from))
	for i, x := range from {
		to[i] = f(x)
	}
	return to
}

// convertMap returns m with f applied to its keys and values, nil for none.
func convertMap(m map[string]string, f func(string) string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	to := make(map[string]string, len(m))
	for k, v := range m {
		to[f(k)] = f(v)
	}
	return to
}
