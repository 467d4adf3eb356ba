// Program clients uses a store through etcd's own Go client library, one scenario after the other.
//
//	clients ENDPOINT [SCENARIO...]
//
// It prints one JSON line for each scenario, {"name", "ok", "detail"}, and ends with 1 if one failed. A line {"ask":
// "kill"} or {"ask": "terminate"} asks whoever started it to end the store that way and to start it again; it goes on
// when it reads a line. What it is not: a test of one store. The same scenarios pass on a real etcd, which is what
// makes them a measure.
//
// The scenarios that need no restart run at once, each below keys of its own; then those that compact, alone; at last
// those that see the store end, all of them over the same restarts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	scenarioMax = 30 * time.Second
	programMax  = 100 * time.Second
)

type scenario struct {
	name string
	run  func(*lab)
}

// The order within a list has no meaning: its scenarios run at once.
var (
	together = []scenario{
		{"put_get", putGet}, {"get_options", getOptions}, {"delete", deletes}, {"txn", txn},
		{"txn_nested", txnNested}, {"pagination", pagination}, {"stream", stream},
		{"watch_prefix", watchPrefix}, {"watch_filters", watchFilters}, {"watch_progress", watchProgress},
		{"watch_fragment", watchFragment}, {"watch_history", watchHistory}, {"watch_many", watchMany},
		{"lease_cycle", leaseCycle}, {"lease_expiry", leaseExpiry}, {"lease_keepalive", leaseKeepAlive},
		{"mutex", mutex}, {"mutex_lost", mutexLost}, {"election", election},
		{"stm_serializable_snapshot", stmSerializableSnapshot}, {"stm_serializable", stmSerializable},
		{"stm_repeatable_reads", stmRepeatableReads}, {"stm_read_committed", stmReadCommitted},
		{"recipes_barriers", recipesBarriers}, {"recipes_queues", recipesQueues},
		{"recipes_rwmutex", recipesRWMutex},
		{"namespace", namespaced}, {"ordering", ordered}, {"leasing", leased}, {"mirror", mirrored},
		{"naming", naming}, {"maintenance", maintenance}, {"snapshot", snapshot}, {"errors", errorTypes},
		{"kubernetes", kubernetesClient}, {"kubernetes_list", kubernetesList},
	}
	alone      = []scenario{{"compaction", compaction}}
	restarting = []scenario{
		{"restart_watch", restartWatch}, {"restart_lease", restartLease}, {"restart_mutex", restartMutex},
		{"restart_election", restartElection}, {"restart_reads", restartReads},
	}
)

// result is what is printed of a scenario.
type result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: clients ENDPOINT [SCENARIO...]")
		os.Exit(2)
	}
	time.AfterFunc(programMax, func() {
		fmt.Fprintf(os.Stderr, "still not done after %v\n", programMax)
		os.Exit(3)
	})
	endpoint, wanted := os.Args[1], os.Args[2:]
	for _, name := range wanted {
		known := func(s scenario) bool { return s.name == name }
		if !slices.ContainsFunc(slices.Concat(together, alone, restarting), known) {
			fmt.Fprintf(os.Stderr, "there is no scenario %s\n", name)
			os.Exit(2)
		}
	}
	failed := false
	for _, group := range [][]scenario{together, alone, restarting} {
		if len(wanted) > 0 {
			group = slices.DeleteFunc(slices.Clone(group), func(s scenario) bool { return !slices.Contains(wanted, s.name) })
		}
		for _, r := range runGroup(endpoint, group) {
			failed = failed || !r.OK
		}
	}
	if failed {
		os.Exit(1)
	}
}

// runGroup runs scenarios at once. The store is restarted whenever all that still run wait for that.
func runGroup(endpoint string, group []scenario) []result {
	arrived := make(chan chan struct{})
	finished := make(chan result)
	for _, s := range group {
		go func() { finished <- runOne(endpoint, s, arrived) }()
	}
	var results []result
	var waiting []chan struct{}
	restarts := 0
	for len(results) < len(group) {
		if len(waiting) == len(group)-len(results) {
			restart([]string{"kill", "terminate"}[restarts%2])
			restarts++
			for _, one := range waiting {
				close(one)
			}
			waiting = nil
		}
		select {
		case one := <-arrived:
			waiting = append(waiting, one)
		case r := <-finished:
			say(r)
			results = append(results, r)
		}
	}
	return results
}

func runOne(endpoint string, s scenario, arrived chan<- chan struct{}) (r result) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), scenarioMax)
	defer cancel()
	l := &lab{ctx: ctx, endpoint: endpoint, name: s.name, arrived: arrived}
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()
	defer func() {
		r = result{s.name, true, fmt.Sprintf("%s in %.1f s", l.seen, time.Since(began).Seconds())}
		if caught := recover(); caught != nil {
			r = result{s.name, false, describe(caught)}
		}
	}()
	s.run(l)
	expect(l.seen != "", "it says nothing of what it saw")
	return
}

var input = bufio.NewScanner(os.Stdin)

// restart has the store ended and started again by the one who started this program.
func restart(how string) {
	say(map[string]string{"ask": how})
	if !input.Scan() {
		fmt.Fprintf(os.Stderr, "nobody answered the wish to %s the store\n", how)
		os.Exit(4)
	}
}

func say(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
