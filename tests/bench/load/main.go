// bench-load: the requests that etcd's own benchmark tool has not, made cheaply enough that the server
// is what is measured.
//
// What it is: one command a kind of load; each prints a line of JSON for each thing it measured
// (result.go). What it is not: a judge. It counts and times; `kubebraid bench` compares.
//
// Invariants: a request is made once and never again (a failure is counted, its first words kept);
// a run is bounded by its count and by --deadline; the exit code is 0 if all was done, whatever was
// counted, and 1 if the command itself could not go on.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"
)

// Options are the flags of all commands; each command takes those it has a use for.
type Options struct {
	Endpoint  string
	Clients   int
	Conns     int
	Total     int
	Keys      int
	From      int
	Prefix    string
	ValueSize int
	PerTxn    int
	Limit     int
	Revision  int64
	Mode      string
	Rate      int
	Watchers  int
	PerStream int
	Leases    int
	Seconds   float64
	Token     string
	Deadline  time.Duration
}

var commands = map[string]func(context.Context, *Options) error{
	"ready":         ready,
	"fill":          fill,
	"put":           put,
	"create":        create,
	"insert-read":   insertRead,
	"update":        update,
	"delete":        casDelete,
	"list":          list,
	"page":          page,
	"watch":         watch,
	"merge":         merge,
	"progress":      progress,
	"lease-grant":   leaseGrant,
	"lease-put":     leasePut,
	"compacting":    compacting,
	"delete-prefix": deletePrefix,
	"compact":       compact,
	"defragment":    defragment,
	"status":        status,
	"kube-create":   kubeCreate,
	"kube-patch":    kubePatch,
	"kube-delete":   kubeDelete,
	"kube-list":     kubeList,
	"keygen":        keygen,
}

func flags(o *Options) *flag.FlagSet {
	set := flag.NewFlagSet("bench-load", flag.ExitOnError)
	set.StringVar(&o.Endpoint, "endpoint", "127.0.0.1:2379", "host:port of the server")
	set.IntVar(&o.Clients, "clients", 1, "requests in flight")
	set.IntVar(&o.Conns, "conns", 1, "connections they share")
	set.IntVar(&o.Total, "total", 1000, "requests, or rounds of them")
	set.IntVar(&o.Keys, "keys", 1000, "keys to use below the prefix")
	set.IntVar(&o.From, "from", 0, "the number of the first key")
	set.StringVar(&o.Prefix, "prefix", "/registry/pods/bench/", "what keys begin with")
	set.IntVar(&o.ValueSize, "value-size", 256, "bytes of a value")
	set.IntVar(&o.PerTxn, "per-txn", 128, "puts in a transaction of fill")
	set.IntVar(&o.Limit, "limit", 0, "keys in a page")
	set.Int64Var(&o.Revision, "revision", 0, "read at this revision; 0 is the newest")
	set.StringVar(&o.Mode, "mode", "", "list: one, pages, stream; page: first, middle, count")
	set.IntVar(&o.Rate, "rate", 0, "requests a second; 0 is no limit")
	set.IntVar(&o.Watchers, "watchers", 1, "watchers in all")
	set.IntVar(&o.PerStream, "per-stream", 10, "watchers that share a stream")
	set.IntVar(&o.Leases, "leases", 1000, "leases that the puts take in turn")
	set.Float64Var(&o.Seconds, "seconds", 5, "how long the quiet part lasts")
	set.StringVar(&o.Token, "token", "", "bearer token for kube-apiserver")
	set.DurationVar(&o.Deadline, "deadline", 10*time.Minute, "the whole run ends then")
	return set
}

func main() {
	var o Options
	set := flags(&o)
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		names := make([]string, 0, len(commands))
		for name := range commands {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: bench-load COMMAND [FLAGS]\ncommands: %v\n", names)
		os.Exit(2)
	}
	if err := set.Parse(os.Args[2:]); err != nil || set.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench-load: cannot use %v\n", set.Args())
		os.Exit(2)
	}
	if o.Clients < 1 || o.Conns < 1 || o.Total < 1 || o.Keys < 1 || o.PerStream < 1 || o.PerTxn < 1 {
		fmt.Fprintln(os.Stderr, "bench-load: every count has to be at least 1")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Deadline)
	defer cancel()
	if err := commands[os.Args[1]](ctx, &o); err != nil {
		fmt.Fprintf(os.Stderr, "bench-load %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
