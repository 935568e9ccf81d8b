package capture

import (
	"context"
	"io"
)

// What is read ahead of a file, so that one core reads while another decodes.
const (
	pieceBytes = 512 << 10
	pieces     = 4
)

// ahead reads a file in a goroutine of its own and hands it out in pieces. Its
// memory is pieces times pieceBytes.
type ahead struct {
	ctx   context.Context // of the reading
	full  chan piece
	free  chan []byte
	taken []byte // the piece that was handed out last
	err   error
}

type piece struct {
	data []byte
	err  error // behind data
}

// readAhead reads until ctx ends, which ends the waiting for a pipe, too; a read of
// the pipe that goes on is left behind.
func readAhead(ctx context.Context, r io.Reader) *ahead {
	a := &ahead{ctx: ctx, full: make(chan piece, pieces), free: make(chan []byte, pieces)}
	for range pieces {
		a.free <- nil // made when it is needed: most files are small
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.ctx.Done():
			return
		}
		if buf == nil {
			buf = make([]byte, pieceBytes)
		}
		// A pipe gives little at a time, and that is handed on at once.
		n, err := r.Read(buf)
		a.full <- piece{buf[:n], err} // there is room: no more pieces are about than it holds
		if err != nil {
			return
		}
	}
}

// Piece returns what comes next, valid until the next call.
func (a *ahead) Piece() ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	if a.taken != nil {
		a.free <- a.taken[:cap(a.taken)]
		a.taken = nil
	}
	select {
	case p := <-a.full:
		a.taken, a.err = p.data, p.err
	case <-a.ctx.Done():
		a.err = context.Cause(a.ctx)
	}
	return a.taken, a.err
}
