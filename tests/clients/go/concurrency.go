package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func (l *lab) session(c *clientv3.Client, ttl int) *concurrency.Session {
	session := must(concurrency.NewSession(c, concurrency.WithTTL(ttl)))
	l.later(func() { session.Close() })
	return session
}

// mutex: no two are inside, a plain read and write inside loses no update, and each owner's key is newer than the last.
func mutex(l *lab) {
	const workers, turns = 6, 5
	clients := []*clientv3.Client{l.client(), l.client(), l.client()}
	counter := l.key("counter")
	must(clients[0].Put(l.ctx, counter, "0"))
	var inside atomic.Int32
	var revisions []int64 // written inside only, so that the race is the lock's to prevent
	l.each(workers, func(worker int) {
		c := clients[worker%len(clients)]
		m := concurrency.NewMutex(l.session(c, 30), l.key("lock"))
		for range turns {
			noError(m.Lock(l.ctx))
			same("how many are inside", inside.Add(1), 1)
			mine := must(c.Get(l.ctx, m.Key())).Kvs[0]
			revisions = append(revisions, mine.CreateRevision)
			now := must(strconv.Atoi(string(must(c.Get(l.ctx, counter)).Kvs[0].Value)))
			fenced := must(c.Txn(l.ctx).If(m.IsOwner()).Then(clientv3.OpPut(counter, strconv.Itoa(now+1))).Commit())
			expect(fenced.Succeeded, "the owner is not the owner")
			inside.Add(-1)
			noError(m.Unlock(l.ctx))
		}
	})
	same("the counter", string(must(clients[0].Get(l.ctx, counter)).Kvs[0].Value), strconv.Itoa(workers*turns))
	same("the number of owners", len(revisions), workers*turns)
	expect(slices.IsSorted(revisions), "owners out of order: %v", revisions)
	same("what is left of the queue", must(clients[0].Get(l.ctx, l.key("lock/"), clientv3.WithPrefix())).Count, 0)

	first := concurrency.NewMutex(l.session(clients[0], 30), l.key("lock"))
	noError(first.Lock(l.ctx))
	second := concurrency.NewMutex(l.session(clients[1], 30), l.key("lock"))
	isError(second.TryLock(l.ctx), concurrency.ErrLocked)
	noError(first.Unlock(l.ctx))
	noError(second.TryLock(l.ctx))
	l.saw("%d turns of %d sessions, one at a time", workers*turns, workers)
}

// mutexLost: who loses the session loses the lock, and the fence keeps the late write out.
func mutexLost(l *lab) {
	c := l.client()
	losing := l.session(c, 6) // the library notices the loss when it next keeps the lease alive
	first := concurrency.NewMutex(losing, l.key("lock"))
	noError(first.Lock(l.ctx))
	second := concurrency.NewMutex(l.session(l.client(), 30), l.key("lock"))
	locked := make(chan error, 1)
	go func() { locked <- second.Lock(l.ctx) }()
	for must(c.Get(l.ctx, l.key("lock/"), clientv3.WithPrefix())).Count < 2 {
		noError(l.ctx.Err())
	}
	must(c.Revoke(l.ctx, losing.Lease()))
	noError(next(l, "the second owner", locked))
	late := must(c.Txn(l.ctx).If(first.IsOwner()).Then(clientv3.OpPut(l.key("data"), "late")).Commit())
	expect(!late.Succeeded, "who lost the lock could write")
	good := must(c.Txn(l.ctx).If(second.IsOwner()).Then(clientv3.OpPut(l.key("data"), "good")).Commit())
	expect(good.Succeeded, "the owner could not write")
	next(l, "the end of the session", ended(losing))
	l.saw("the second owner came with the end of the first one's lease")
}

// ended gives a value when a session has ended.
func ended(session *concurrency.Session) <-chan struct{} {
	told := make(chan struct{}, 1)
	go func() {
		<-session.Done()
		told <- struct{}{}
	}()
	return told
}

func election(l *lab) {
	c := l.client()
	const candidates = 3
	observer := concurrency.NewElection(l.session(c, 30), l.prefix()+"e")
	_, err := observer.Leader(l.ctx)
	isError(err, concurrency.ErrElectionNoLeader)
	observed := make(chan string, 100)
	go func() {
		for leader := range observer.Observe(l.ctx) {
			observed <- string(leader.Kvs[0].Value)
		}
	}()
	sessions := make([]*concurrency.Session, candidates)
	elections := make([]*concurrency.Election, candidates)
	for number := range candidates {
		sessions[number] = l.session(l.client(), 30)
		elections[number] = concurrency.NewElection(sessions[number], l.prefix()+"e")
	}
	won := make(chan int, candidates)
	var campaigns sync.WaitGroup
	for number, one := range elections {
		campaigns.Go(func() {
			if one.Campaign(l.ctx, fmt.Sprint(number)) == nil {
				won <- number
			}
		})
	}
	l.later(campaigns.Wait)
	order := []int{}
	for range candidates {
		leader := next(l, "a leader", won)
		same("the observed leader", next(l, "the observation", observed), fmt.Sprint(leader))
		same("the leader that is told", string(must(elections[leader].Leader(l.ctx)).Kvs[0].Value), fmt.Sprint(leader))
		order = append(order, leader)
		switch len(order) {
		case 1:
			noError(elections[leader].Proclaim(l.ctx, "still me"))
			same("what is observed", next(l, "the proclamation", observed), "still me")
			noError(elections[leader].Resign(l.ctx))
			isError(elections[leader].Proclaim(l.ctx, "too late"), concurrency.ErrElectionNotLeader)
		case 2:
			noError(sessions[leader].Close())
		}
		select {
		case other := <-won:
			expect(len(order) < candidates, "%d and %d lead at once", leader, other)
			won <- other
		default:
		}
	}
	last := elections[order[2]]
	resumed := concurrency.ResumeElection(sessions[order[2]], l.prefix()+"e", last.Key(), last.Rev())
	noError(resumed.Resign(l.ctx))
	_, err = resumed.Leader(l.ctx)
	expect(errors.Is(err, concurrency.ErrElectionNoLeader), "there is a leader after all resigned: %v", err)
	l.saw("leaders %v", order)
}
