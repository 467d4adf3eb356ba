package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// restartWatch: a watch that outlives the store's end has each write once, in order; no acknowledged write is gone.
//
// Each write has a key of its own, so that the keys in the end are the writes that happened, also those without an
// answer. The watch covers places that a store which is cut by resource keeps apart.
func restartWatch(l *lab) {
	c := l.client()
	begin := must(c.Put(l.ctx, l.key("begin"), "")).Header.Revision + 1
	watcher := l.client()
	channel := watcher.Watch(l.ctx, "/registry/", clientv3.WithRange("plain0"), clientv3.WithRev(begin))

	var stopped atomic.Bool
	acknowledged := map[string]int64{}
	failed := 0
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		for number := 0; !stopped.Load() && number < 20_000; number++ {
			key := l.spread(number%5) + fmt.Sprintf("/%05d", number)
			ctx, cancel := context.WithTimeout(l.ctx, time.Second)
			answer, err := c.Put(ctx, key, key)
			cancel()
			if err == nil {
				acknowledged[key] = answer.Header.Revision
			} else {
				failed++
			}
		}
	}()
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		l.restart()
	}
	time.Sleep(300 * time.Millisecond)
	stopped.Store(true)
	<-writer

	truth := map[string]int64{}
	for number := range 5 {
		for _, kv := range must(c.Get(l.ctx, l.spread(number)+"/", clientv3.WithPrefix())).Kvs {
			same("the value of "+string(kv.Key), string(kv.Value), string(kv.Key))
			truth[string(kv.Key)] = kv.ModRevision
		}
	}
	for key, revision := range acknowledged {
		same("the revision of the acknowledged "+key, truth[key], revision)
	}
	end := must(c.Put(l.ctx, l.spread(0)+"/end", "")).Header.Revision
	var seen []int64
	for at := int64(0); at < end; {
		answer := next(l, fmt.Sprintf("more events than %d of %d", len(seen), len(truth)), channel)
		noError(answer.Err())
		for _, event := range answer.Events {
			expect(event.Kv.ModRevision >= at, "an event at %d comes after one at %d", event.Kv.ModRevision, at)
			at = event.Kv.ModRevision
			if wanted, mine := truth[string(event.Kv.Key)]; mine {
				same("the revision of the event of "+string(event.Kv.Key), at, wanted)
				seen = append(seen, at)
			}
		}
	}
	wanted := slices.Sorted(maps.Values(truth))
	expect(slices.Equal(seen, wanted), "%d events for %d writes: %v is not %v", len(seen), len(wanted), seen, wanted)
	l.saw("%d writes and events, %d writes acknowledged, %d failed", len(wanted), len(acknowledged), failed)
}

// restartLease: a lease that is kept alive lives on over the restarts, an abandoned one ends nevertheless.
func restartLease(l *lab) {
	c := l.client()
	kept, left := must(c.Grant(l.ctx, 10)), must(c.Grant(l.ctx, 2))
	must(c.Put(l.ctx, l.key("kept"), "", clientv3.WithLease(kept.ID)))
	last := must(c.Put(l.ctx, l.key("left"), "", clientv3.WithLease(left.ID))).Header.Revision
	// Without a revision the library resumes at that of the creation, which may be the last put's own.
	channel := c.Watch(l.ctx, l.prefix(), clientv3.WithPrefix(), clientv3.WithRev(last+1))
	signs := must(c.KeepAlive(l.ctx, kept.ID))
	next(l, "the first sign of life", signs)
	for range 2 {
		l.restart()
	drain:
		for {
			select {
			case _, open := <-signs:
				expect(open, "the library gave the lease up")
			default:
				break drain
			}
		}
		same("the time to live", next(l, "a sign of life after the restart", signs).TTL, 10)
	}
	gone := l.events(channel, 1)[0]
	same("the kind", gone.Type, clientv3.EventTypeDelete)
	same("whose lease ended", string(gone.Kv.Key), l.key("left"))
	rest := must(c.TimeToLive(l.ctx, kept.ID, clientv3.WithAttachedKeys()))
	expect(rest.TTL > 0, "it has %d seconds left", rest.TTL)
	same("the number of its keys", len(rest.Keys), 1)
	same("the count of its keys", must(c.Get(l.ctx, l.key("kept"))).Count, 1)
	l.saw("%d s left of 10, the abandoned lease ended", rest.TTL)
}

// restartMutex: who holds the lock holds it still, and who waits for it goes on waiting.
func restartMutex(l *lab) {
	first := concurrency.NewMutex(l.session(l.client(), 15), l.key("lock"))
	noError(first.Lock(l.ctx))
	c := l.client()
	second := concurrency.NewMutex(l.session(c, 15), l.key("lock"))
	var released atomic.Bool
	locked := make(chan error, 1)
	go func() {
		err := second.Lock(l.ctx)
		if err == nil && !released.Load() {
			err = fmt.Errorf("two hold the lock")
		}
		locked <- err
	}()
	for range 2 {
		l.restart()
		held := must(c.Txn(l.ctx).If(first.IsOwner()).Then(clientv3.OpPut(l.key("data"), "first")).Commit())
		expect(held.Succeeded, "the owner lost the lock")
	}
	released.Store(true)
	noError(first.Unlock(l.ctx))
	noError(next(l, "the second owner", locked))
	held := must(c.Txn(l.ctx).If(second.IsOwner()).Then(clientv3.OpPut(l.key("data"), "second")).Commit())
	expect(held.Succeeded, "the second is not the owner")
	l.saw("one owner over two restarts, then the other")
}

// restartElection: the leader stays, the observer's eyes stay open, the successor comes when it is time.
func restartElection(l *lab) {
	clients := []*clientv3.Client{l.client(), l.client(), l.client()}
	elections := make([]*concurrency.Election, len(clients))
	for number, c := range clients {
		elections[number] = concurrency.NewElection(l.session(c, 15), l.prefix()+"e")
	}
	noError(elections[0].Campaign(l.ctx, "zero"))
	observed := elections[2].Observe(l.ctx)
	same("the leader", string(next(l, "the leader", observed).Kvs[0].Value), "zero")
	won := make(chan error, 1)
	go func() { won <- elections[1].Campaign(l.ctx, "one") }()
	for _, word := range []string{"after the first", "after the second"} {
		l.restart()
		noError(elections[0].Proclaim(l.ctx, word))
		same("what the observer sees", string(next(l, "the proclamation", observed).Kvs[0].Value), word)
	}
	same("how many have won", len(won), 0)
	noError(elections[0].Resign(l.ctx))
	noError(next(l, "the successor", won))
	same("the new leader", string(next(l, "the successor's word", observed).Kvs[0].Value), "one")
	l.saw("one leader over two restarts, then its successor")
}

// restartReads: reads are repeated by the library, their users notice the end of the store by the time they take.
func restartReads(l *lab) {
	c := l.client()
	put := must(c.Put(l.ctx, l.key("a"), "value")).Header.Revision
	var stopped atomic.Bool
	reader := make(chan any, 1)
	reads := 0
	go func() {
		defer func() { reader <- recover() }()
		for last := put; !stopped.Load(); reads++ {
			answer := must(c.Get(l.ctx, l.key("a")))
			same("the revision of the key", answer.Kvs[0].ModRevision, put)
			expect(answer.Header.Revision >= last, "the revision went back from %d to %d", last, answer.Header.Revision)
			last = answer.Header.Revision
		}
	}()
	for range 2 {
		time.Sleep(200 * time.Millisecond)
		l.restart()
	}
	stopped.Store(true)
	if caught := next(l, "the reader", reader); caught != nil {
		panic(caught)
	}
	l.saw("%d reads, none failed", reads)
}
