// Writes: filling a store, puts, and the three transactions that kube-apiserver makes.
package main

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

var errConflict = errors.New("a compare failed, though nobody else writes these keys")

func putOp(key, value []byte) *pb.RequestOp {
	ask := &pb.PutRequest{Key: key, Value: value}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: ask}}
}

func getOp(key []byte) *pb.RequestOp {
	ask := &pb.RangeRequest{Key: key}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: ask}}
}

// unchanged is the compare that kube-apiserver writes under; 0 is for a key that is not there.
func unchanged(key []byte, revision int64) []*pb.Compare {
	return []*pb.Compare{{
		Key:         key,
		Target:      pb.Compare_MOD,
		Result:      pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
	}}
}

// commit makes a transaction that has to succeed; its revision is returned.
func commit(ctx context.Context, link *grpc.ClientConn, ask *pb.TxnRequest) (int64, error) {
	answer, err := pb.NewKVClient(link).Txn(ctx, ask)
	if err != nil {
		return 0, err
	}
	if !answer.Succeeded {
		return 0, errConflict
	}
	return answer.Header.Revision, nil
}

// fill writes --keys keys from --from on, --per-txn in a transaction.
func fill(ctx context.Context, o *Options) error {
	txns := (o.Keys + o.PerTxn - 1) / o.PerTxn
	do := func(ctx context.Context, w *Worker, number int) error {
		first, last := number*o.PerTxn, min((number+1)*o.PerTxn, o.Keys)
		ask := &pb.TxnRequest{}
		for i := first; i < last; i++ {
			key := keyName(o.Prefix, o.From+i)
			ask.Success = append(ask.Success, putOp(key, w.value(o.ValueSize)))
		}
		_, err := commit(ctx, w.link, ask)
		w.keys += int64(last - first)
		return err
	}
	return finish(run(ctx, o, "fill", txns, do))
}

// put writes --total times one of --keys keys.
func put(ctx context.Context, o *Options) error {
	return finish(run(ctx, o, "put", o.Total, putter(o, nil)))
}

// putter puts a random key of --keys; a lease is taken in turn from those given.
func putter(o *Options, leases []int64) func(context.Context, *Worker, int) error {
	return func(ctx context.Context, w *Worker, number int) error {
		ask := &pb.PutRequest{
			Key:   keyName(o.Prefix, o.From+w.random.IntN(o.Keys)),
			Value: w.value(o.ValueSize),
		}
		if len(leases) > 0 {
			ask.Lease = leases[number%len(leases)]
		}
		_, err := pb.NewKVClient(w.link).Put(ctx, ask)
		return err
	}
}

// create writes --keys new keys, each in a transaction that finds it absent.
func create(ctx context.Context, o *Options) error {
	do := func(ctx context.Context, w *Worker, number int) error {
		return insert(ctx, w, keyName(o.Prefix, o.From+number), o.ValueSize)
	}
	return finish(run(ctx, o, "create", o.Keys, do))
}

// insert writes a key that has to be absent.
func insert(ctx context.Context, w *Worker, key []byte, size int) error {
	_, err := commit(ctx, w.link, &pb.TxnRequest{
		Compare: unchanged(key, 0),
		Success: []*pb.RequestOp{putOp(key, w.value(size))},
		Failure: []*pb.RequestOp{getOp(key)},
	})
	return err
}

// update writes --total times over the keys that are there, each write knowing the one before it.
func update(ctx context.Context, o *Options) error {
	return overKnown(ctx, o, "update", func(keys [][]byte, at []int64) (int, doer) {
		// A worker has its own keys, so that none meets another's write.
		turns := make([]int, o.Clients)
		return o.Total, func(ctx context.Context, w *Worker, _ int) error {
			mine := (len(keys) - w.number + o.Clients - 1) / o.Clients
			index := w.number + (turns[w.number]%mine)*o.Clients
			turns[w.number]++
			revision, err := commit(ctx, w.link, &pb.TxnRequest{
				Compare: unchanged(keys[index], at[index]),
				Success: []*pb.RequestOp{putOp(keys[index], w.value(o.ValueSize))},
				Failure: []*pb.RequestOp{getOp(keys[index])},
			})
			at[index] = revision
			return err
		}
	})
}

// casDelete deletes each key that is there, in a transaction that finds it unchanged.
func casDelete(ctx context.Context, o *Options) error {
	return overKnown(ctx, o, "delete", func(keys [][]byte, at []int64) (int, doer) {
		return len(keys), func(ctx context.Context, w *Worker, number int) error {
			ask := &pb.DeleteRangeRequest{Key: keys[number]}
			op := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: ask}}
			_, err := commit(ctx, w.link, &pb.TxnRequest{
				Compare: unchanged(keys[number], at[number]),
				Success: []*pb.RequestOp{op},
				Failure: []*pb.RequestOp{getOp(keys[number])},
			})
			return err
		}
	})
}

type doer = func(ctx context.Context, w *Worker, number int) error

// overKnown reads which keys there are and at which revisions, then runs what `plan` makes of them.
func overKnown(
	ctx context.Context, o *Options, name string, plan func([][]byte, []int64) (int, doer),
) error {
	links, err := connect(o)
	if err != nil {
		return err
	}
	var keys [][]byte
	var at []int64
	ask := prefixed(o.Prefix, 10_000)
	ask.KeysOnly = true
	for more := true; more; {
		answer, err := get(ctx, links[0], ask)
		if err != nil {
			return err
		}
		listed := Listed{}
		if err := listed.scan(answer, func(key []byte, revision int64) {
			keys, at = append(keys, key), append(at, revision)
		}); err != nil {
			return err
		}
		more = listed.More
		ask.Key = after(listed.Last)
	}
	if len(keys) < o.Clients {
		return errors.New("there are fewer keys than clients: fill first")
	}
	if err := greet(ctx, links); err != nil {
		return err
	}
	total, do := plan(keys, at)
	return finish(runOn(ctx, o, links, name, total, do), nil)
}
