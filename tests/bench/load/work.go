// Many workers, one after the other's requests each; keys and values.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// errOver ends a worker whose load has no count.
var errOver = errors.New("over")

const errorsMax = 100 // a run that fails so often measures nothing more

// Worker is one client: it has its own chance, so that runs ask for the same.
type Worker struct {
	number int
	link   *grpc.ClientConn
	random *rand.Rand
	pool   []byte
	bytes  int64
	keys   int64
	times  Histogram
	ops    int
}

// value is a slice of random bytes that no server can compress, good until the worker's next.
func (w *Worker) value(size int) []byte {
	offset := w.random.IntN(len(w.pool) - size)
	return w.pool[offset : offset+size]
}

// poolBytes of randomness are enough that a value hardly comes twice in a block of any storage.
const poolBytes = 8 << 20

func newPool() []byte {
	pool := make([]byte, poolBytes)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(pool)
	return pool
}

func keyName(prefix string, number int) []byte { return fmt.Appendf(nil, "%s%010d", prefix, number) }

// run has the workers do numbers 0..total-1, each once, and returns what they saw, not yet printed.
func run(
	ctx context.Context, o *Options, name string, total int,
	do func(ctx context.Context, w *Worker, number int) error,
) (*Tally, error) {
	links, err := connect(o)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, link := range links {
			_ = link.Close()
		}
	}()
	if err := greet(ctx, links); err != nil {
		return nil, err
	}
	return runOn(ctx, o, links, name, total, do), nil
}

// greet makes one request on each connection, so that connecting is not measured.
func greet(ctx context.Context, links []*grpc.ClientConn) error {
	for _, link := range links {
		if _, err := get(ctx, link, oneKey("bench-load")); err != nil {
			return fmt.Errorf("the first request failed: %w", err)
		}
	}
	return nil
}

func runOn(
	ctx context.Context, o *Options, links []*grpc.ClientConn, name string, total int,
	do func(ctx context.Context, w *Worker, number int) error,
) *Tally {
	pool := newPool()
	tally := newTally(name)
	var next, failed atomic.Int64
	var pace <-chan time.Time
	if o.Rate > 0 {
		ticker := time.NewTicker(time.Second / time.Duration(o.Rate))
		defer ticker.Stop()
		pace = ticker.C
	}
	var all sync.WaitGroup
	for number := range min(o.Clients, total) {
		worker := &Worker{
			number: number,
			link:   links[number%len(links)],
			random: rand.New(rand.NewPCG(1, uint64(number))),
			pool:   pool,
		}
		all.Go(func() {
			for failed.Load() < errorsMax {
				turn := int(next.Add(1)) - 1
				if turn >= total {
					break
				}
				if pace != nil {
					<-pace
				}
				begun := time.Now()
				err := do(ctx, worker, turn)
				if err == errOver {
					break
				}
				if err != nil {
					failed.Add(1)
					tally.fail(err)
					continue
				}
				worker.times.add(time.Since(begun))
				worker.ops++
			}
			tally.join(&worker.times, worker.ops, worker.bytes, worker.keys)
		})
	}
	all.Wait()
	tally.stop()
	return tally
}

// finish prints what a run saw.
func finish(tally *Tally, err error) error {
	if err != nil {
		return err
	}
	return tally.print()
}
