// Writes and reads in turn: new keys, and what was just written.
package main

import (
	"context"
	"errors"
	"time"
)

// insertRead writes --keys new keys as create does; behind each insert its worker reads the key. Both
// kinds are counted by themselves, over the same time: as many reads as inserts.
func insertRead(ctx context.Context, o *Options) error {
	inserts, reads := newTally("insert"), newTally("read")
	type pair struct{ insert, read Histogram }
	times := make([]pair, o.Clients)
	both, err := run(ctx, o, "insert and read", o.Keys,
		func(ctx context.Context, w *Worker, number int) error {
			key := keyName(o.Prefix, o.From+number)
			begun := time.Now()
			if err := insert(ctx, w, key, o.ValueSize); err != nil {
				return err
			}
			times[w.number].insert.add(time.Since(begun))
			begun = time.Now()
			if err := w.take(ctx, oneKey(string(key)), 1); err != nil {
				return err
			}
			times[w.number].read.add(time.Since(begun))
			return nil
		})
	if err != nil {
		return err
	}
	inserts.result.Errors, inserts.result.FirstError = both.result.Errors, both.result.FirstError
	for i := range times {
		inserts.join(&times[i].insert, 0, 0, 0)
		reads.join(&times[i].read, 0, 0, 0)
	}
	for _, tally := range []*Tally{inserts, reads} {
		// Connecting is not in it, as it is not for the commands of one kind.
		tally.result.Ops = both.result.Ops
		tally.result.Seconds, tally.result.ClientCPU = both.result.Seconds, both.result.ClientCPU
		err = errors.Join(err, tally.print())
	}
	return err
}
