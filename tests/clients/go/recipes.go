package main

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

func recipesBarriers(l *lab) {
	const members = 4
	barrier := recipe.NewBarrier(l.client(), l.key("barrier"))
	noError(barrier.Hold())
	isError(recipe.NewBarrier(l.client(), l.key("barrier")).Hold(), recipe.ErrKeyExists)
	var released atomic.Bool
	var entered, left atomic.Int32
	l.each(members+1, func(number int) {
		c := l.client()
		if number == members {
			time.Sleep(200 * time.Millisecond) // gives a wrong one the chance to pass
			released.Store(true)
			noError(barrier.Release())
			return
		}
		noError(recipe.NewBarrier(c, l.key("barrier")).Wait())
		expect(released.Load(), "passed before it was released")
		double := recipe.NewDoubleBarrier(l.session(c, 30), l.key("double"), members)
		entered.Add(1)
		noError(double.Enter())
		same("how many had entered", entered.Load(), members)
		left.Add(1)
		noError(double.Leave())
		same("how many had left", left.Load(), members)
	})
	l.saw("%d members waited for each other three times", members)
}

func recipesQueues(l *lab) {
	c := l.client()
	queue := recipe.NewQueue(c, l.key("queue"))
	priorities := recipe.NewPriorityQueue(c, l.key("priorities"))
	for number := range 6 {
		noError(queue.Enqueue(fmt.Sprint(number)))
		noError(priorities.Enqueue(fmt.Sprint(number), uint16(100-number)))
	}
	for number := range 6 {
		same("the next one", must(queue.Dequeue()), fmt.Sprint(number))
		same("the most urgent one", must(priorities.Dequeue()), fmt.Sprint(5-number))
	}
	const workers, turns = 3, 8
	taken := make(chan string, workers*turns)
	l.each(2*workers, func(worker int) {
		mine := recipe.NewQueue(l.client(), l.key("queue"))
		for turn := range turns {
			if worker < workers {
				noError(mine.Enqueue(fmt.Sprintf("%d-%d", worker, turn)))
			} else {
				taken <- must(mine.Dequeue())
			}
		}
	})
	close(taken)
	var all []string
	for one := range taken {
		all = append(all, one)
	}
	slices.Sort(all)
	same("the number of different ones taken", len(slices.Compact(all)), workers*turns)
	same("what is left", must(c.Get(l.ctx, l.key("queue"), clientv3.WithPrefix())).Count, 0)
	l.saw("12 in order, %d to %d takers", workers*turns, workers)
}

func recipesRWMutex(l *lab) {
	var readers, writers, most atomic.Int32
	l.each(6, func(number int) {
		m := recipe.NewRWMutex(l.session(l.client(), 30), l.key("lock"))
		for range 3 {
			if number < 2 {
				noError(m.Lock())
				same("the number of writers", writers.Add(1), 1)
				same("the readers beside a writer", readers.Load(), 0)
				writers.Add(-1)
				noError(m.Unlock())
				continue
			}
			noError(m.RLock())
			most.Store(max(most.Load(), readers.Add(1)))
			same("the writers beside a reader", writers.Load(), 0)
			readers.Add(-1)
			noError(m.RUnlock())
		}
	})
	l.saw("6 turns alone, 12 shared, up to %d at once", most.Load())
}
