package main

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const (
	accounts = 5
	deposit  = 100
	movers   = 5
	moves    = 8
)

func stmSerializableSnapshot(l *lab) { transfers(l, concurrency.SerializableSnapshot) }
func stmSerializable(l *lab)         { transfers(l, concurrency.Serializable) }
func stmRepeatableReads(l *lab)      { transfers(l, concurrency.RepeatableReads) }

// transfers move money between accounts that a store keeps in different places. At no revision the sum is another.
func transfers(l *lab, isolation concurrency.Isolation) {
	c := l.client()
	var opening []clientv3.Op
	for account := range accounts {
		opening = append(opening, clientv3.OpPut(l.spread(account), strconv.Itoa(deposit)))
	}
	first := must(c.Txn(l.ctx).Then(opening...).Commit()).Header.Revision
	tries := make([]int, movers)
	l.each(movers, func(mover int) {
		c := l.client()
		for move := range moves {
			from, to := l.spread((mover+move)%accounts), l.spread((mover+2*move+1)%accounts)
			if from == to {
				to = l.spread((mover + move + 1) % accounts)
			}
			amount := 1 + (mover*7+move*3)%20
			answer := must(concurrency.NewSTM(c, func(s concurrency.STM) error {
				tries[mover]++
				has, err := strconv.Atoi(s.Get(from))
				if err != nil {
					return err
				}
				gets, err := strconv.Atoi(s.Get(to))
				if err != nil {
					return err
				}
				s.Put(from, strconv.Itoa(has-amount))
				s.Put(to, strconv.Itoa(gets+amount))
				return nil
			}, concurrency.WithIsolation(isolation), concurrency.WithAbortContext(l.ctx), concurrency.WithPrefetch(from, to)))
			expect(answer.Succeeded, "a transfer came back without success")
		}
	})
	last := must(c.Get(l.ctx, l.spread(0))).Header.Revision
	changes := 0
	for revision, changed := range l.changes(c, first+1, last) {
		same(fmt.Sprintf("the number of accounts changed at %d", revision), changed, 2)
		sum := 0
		for _, value := range l.accounts(c, revision) {
			sum += must(strconv.Atoi(value))
		}
		same(fmt.Sprintf("the sum at revision %d", revision), sum, accounts*deposit)
		changes++
	}
	same("the number of transfers", changes, movers*moves)
	total := 0
	for _, number := range tries {
		total += number
	}
	l.saw("%d transfers by %d tries, the sum is the same at each revision", changes, total)
}

// stmReadCommitted may lose updates, by its contract; what it writes together must be there together.
func stmReadCommitted(l *lab) {
	c := l.client()
	l.each(4, func(worker int) {
		for turn := range 10 {
			answer := must(concurrency.NewSTM(c, func(s concurrency.STM) error {
				value := fmt.Sprintf("%d of %d", turn, worker)
				for account := range accounts {
					s.Get(l.spread(account))
					s.Put(l.spread(account), value)
					if read := s.Get(l.spread(account)); read != value {
						return fmt.Errorf("it wrote %s and read %s", value, read)
					}
				}
				s.Del(l.key("none"))
				return nil
			}, concurrency.WithIsolation(concurrency.ReadCommitted), concurrency.WithAbortContext(l.ctx)))
			together := l.accounts(c, answer.Header.Revision)
			for _, value := range together {
				same("what was written together", value, together[0])
			}
		}
	})
	l.saw("40 transactions over %d keys", accounts)
}

// accounts are the values of all of them at one revision.
func (l *lab) accounts(c *clientv3.Client, revision int64) []string {
	reads := make([]clientv3.Op, accounts)
	for account := range accounts {
		reads[account] = clientv3.OpGet(l.spread(account), clientv3.WithRev(revision))
	}
	values := make([]string, accounts)
	for account, answer := range must(c.Txn(l.ctx).Then(reads...).Commit()).Responses {
		values[account] = string(answer.GetResponseRange().Kvs[0].Value)
	}
	return values
}

// changes tells how many accounts changed at which revision, from one revision to another.
func (l *lab) changes(c *clientv3.Client, first, last int64) map[int64]int {
	changed := map[int64]int{}
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	end := must(c.Put(l.ctx, l.spread(accounts), "")).Header.Revision
	mine := map[string]bool{}
	for account := range accounts {
		mine[l.spread(account)] = true
	}
	for answer := range c.Watch(ctx, "/registry/", clientv3.WithRange("plain0"), clientv3.WithRev(first)) {
		noError(answer.Err())
		for _, event := range answer.Events {
			if mine[string(event.Kv.Key)] && event.Kv.ModRevision <= last {
				changed[event.Kv.ModRevision]++
			}
			if event.Kv.ModRevision >= end {
				return changed
			}
		}
	}
	fail("the watch of the changes ended early")
	return nil
}
