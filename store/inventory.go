package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// The inventory is kept as documents: the registry alone knows what they mean,
// reads all of them at its start and never asks for one by a field. The types
// below are the form on the disk: their names stay when the domain's change,
// fields may be added. Strings are as text.Encode makes them.
type (
	deviceDoc struct {
		MergedInto  string          `json:"merged_into,omitempty"`
		Identifiers []identifierDoc `json:"identifiers,omitempty"`
		Heard       []string        `json:"heard,omitempty"`
		Protocols   []string        `json:"protocols,omitempty"`
		Gateway     string          `json:"gateway,omitempty"`
		FirstSeen   time.Time       `json:"first_seen,omitzero"`
		LastSeen    time.Time       `json:"last_seen,omitzero"`
		Split       time.Time       `json:"split,omitzero"`
		Names       []string        `json:"names,omitempty"` // a person said these
		Tags        []string        `json:"tags,omitempty"`
		Separated   []identifierDoc `json:"separated,omitempty"`
		Signals     []signalDoc     `json:"signals,omitempty"`
	}
	signalDoc struct {
		Kind  string `json:"kind"`
		Value string `json:"value"`
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
	return d.inTx(ctx, "save the inventory", func(ctx context.Context, tx *sql.Tx) error {
		for _, step := range []struct {
			statement string
			rows      iter.Seq2[[]any, error]
		}{
			{d.sql.putDevice, argsOf(b.Devices, deviceArgs)},
			{d.sql.forgetDevice, argsOf(b.Forgotten, func(id string) ([]any, error) { return []any{text.Encode(id)}, nil })},
			{d.sql.putSighting, argsOf(b.Sightings, sightingArgs)},
			{d.sql.forgetSighting, argsOf(b.Ended, func(id lanfolk.ID) ([]any, error) { return []any{sightingKey(id)}, nil })},
		} {
			if err := d.each(ctx, tx, step.statement, step.rows, d.scope...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Commit implements lanfolk.Journal.
func (d *DB) Commit(ctx context.Context, records []lanfolk.DeviceRecord) error {
	return d.inTx(ctx, "keep what was said", func(ctx context.Context, tx *sql.Tx) error {
		return d.each(ctx, tx, d.sql.putDevice, argsOf(records, deviceArgs), d.scope...)
	})
}

// Snapshot returns the inventory as it was saved, for the registry's Restore.
func (d *DB) Snapshot(ctx context.Context) (s lanfolk.Snapshot, err error) {
	err = d.reading(ctx, "read the inventory", func(ctx context.Context) error {
		// One transaction, so that a batch that is saved meanwhile is in it as a
		// whole or not at all.
		tx, err := d.read.BeginTx(ctx, d.snapshot())
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // it changed nothing
		if s.Devices, err = documents(ctx, tx, d.sql.devices, d.scope, deviceOf); err != nil {
			return err
		}
		s.Sightings, err = documents(ctx, tx, d.sql.sightings, d.scope, sightingOf)
		return err
	})
	if err != nil {
		return lanfolk.Snapshot{}, err
	}
	return s, nil
}

// documents reads all rows of a table of documents.
func documents[D, T any](ctx context.Context, tx *sql.Tx, query string, args []any, value func(key sql.RawBytes, doc *D) T) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
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
		MergedInto:  text.Encode(r.MergedInto),
		Identifiers: convert(r.Identifiers, identifierDocOf),
		Heard:       convert(r.Heard, text.Encode),
		Protocols:   convert(r.Protocols, text.Encode),
		Gateway:     text.Encode(r.Gateway),
		FirstSeen:   inRange(r.FirstSeen),
		LastSeen:    inRange(r.LastSeen),
		Split:       inRange(r.Split),
		Names:       convert(r.Said.Names, text.Encode),
		Tags:        convert(r.Said.Tags, text.Encode),
		Separated:   convert(r.Said.Separated, identifierDocOf),
		Signals:     convert(r.Signals, signalDocOf),
	})
	return []any{text.Encode(r.ID), string(doc)}, err
}

func deviceOf(id sql.RawBytes, d *deviceDoc) lanfolk.DeviceRecord {
	return lanfolk.DeviceRecord{
		ID:          text.Decode(string(id)),
		MergedInto:  text.Decode(d.MergedInto),
		Identifiers: convert(d.Identifiers, identifierOf),
		Heard:       convert(d.Heard, text.Decode),
		Protocols:   convert(d.Protocols, text.Decode),
		Gateway:     text.Decode(d.Gateway),
		FirstSeen:   d.FirstSeen,
		LastSeen:    d.LastSeen,
		Split:       d.Split,
		Signals:     convert(d.Signals, signalOf),
		Said: lanfolk.Said{
			Names:     convert(d.Names, text.Decode),
			Tags:      convert(d.Tags, text.Decode),
			Separated: convert(d.Separated, identifierOf),
		},
	}
}

func sightingArgs(x lanfolk.StoredSighting) ([]any, error) {
	s := &x.Sighting
	doc, err := json.Marshal(sightingDoc{
		Protocol: text.Encode(s.Origin.Protocol), Gateway: text.Encode(s.Origin.Gateway), Link: text.Encode(s.Origin.Link),
		Source: text.Encode(s.Origin.Source), Self: s.Origin.Self,
		Key: text.Encode(s.Key), Kind: text.Encode(string(s.Kind)), Name: text.Encode(s.Name), Type: text.Encode(s.Type),
		Identifiers: convert(s.Identifiers, identifierDocOf),
		Host:        text.Encode(s.Host), Addresses: keepable(s.Addresses), Port: s.Port,
		Attributes: convertMap(s.Attributes, text.Encode),
		What:       text.Encode(s.What), State: text.Encode(string(s.State)),
		Time: inRange(s.Time), Lifetime: s.Lifetime, Gone: s.Gone,
		Device: text.Encode(x.Device), FirstSeen: inRange(x.FirstSeen), Ended: x.Ended,
	})
	return []any{sightingKey(s.ID()), string(doc)}, err
}

func sightingOf(_ sql.RawBytes, d *sightingDoc) lanfolk.StoredSighting {
	return lanfolk.StoredSighting{
		Sighting: lanfolk.Sighting{
			Origin: lanfolk.Origin{
				Protocol: text.Decode(d.Protocol), Gateway: text.Decode(d.Gateway), Link: text.Decode(d.Link),
				Source: text.Decode(d.Source), Self: d.Self,
			},
			Key: text.Decode(d.Key), Kind: lanfolk.Kind(text.Decode(d.Kind)), Name: text.Decode(d.Name), Type: text.Decode(d.Type),
			Identifiers: convert(d.Identifiers, identifierOf),
			Host:        text.Decode(d.Host), Addresses: d.Addresses, Port: d.Port,
			Attributes: convertMap(d.Attributes, text.Decode),
			What:       text.Decode(d.What), State: lanfolk.State(text.Decode(d.State)),
			Time: d.Time, Lifetime: d.Lifetime, Gone: d.Gone,
		},
		Device:    text.Decode(d.Device),
		FirstSeen: d.FirstSeen,
		Ended:     d.Ended,
	}
}

func sightingKey(id lanfolk.ID) []byte {
	return keyOf(id.Protocol, id.Gateway, id.Link, string(id.Kind), id.Key)
}

func identifierDocOf(i lanfolk.Identifier) identifierDoc {
	return identifierDoc{text.Encode(string(i.Kind)), text.Encode(i.Value), text.Encode(i.Gateway), text.Encode(i.Link)}
}

func identifierOf(d identifierDoc) lanfolk.Identifier {
	return lanfolk.Identifier{
		Kind: lanfolk.IdentifierKind(text.Decode(d.Kind)), Value: text.Decode(d.Value),
		Gateway: text.Decode(d.Gateway), Link: text.Decode(d.Link),
	}
}

func signalDocOf(s lanfolk.Signal) signalDoc {
	return signalDoc{text.Encode(s.Kind), text.Encode(s.Value)}
}

func signalOf(d signalDoc) lanfolk.Signal {
	return lanfolk.Signal{Kind: text.Decode(d.Kind), Value: text.Decode(d.Value)}
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
