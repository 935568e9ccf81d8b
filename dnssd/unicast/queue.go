package unicast

import "container/heap"

// fix puts an entry at its place in the queue.
func (c *cache) fix(e *entry) {
	waits := !e.due().IsZero()
	switch {
	case waits && e.place < 0:
		heap.Push(&c.queue, e)
	case waits:
		heap.Fix(&c.queue, e.place)
	case e.place >= 0:
		heap.Remove(&c.queue, e.place)
	}
}

// queue is a heap of entries by what is due first. An entry whose time changes
// is fixed before another one's does.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due().Before(q[j].due()) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.place = -1
	return e
}
