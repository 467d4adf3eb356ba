// Leases: granting them, and puts that belong to one.
package main

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const leaseSeconds = 3600 // none ends while it is measured

func leaseGrant(ctx context.Context, o *Options) error {
	do := func(ctx context.Context, w *Worker, _ int) error {
		_, err := pb.NewLeaseClient(w.link).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: leaseSeconds})
		return err
	}
	return finish(run(ctx, o, "lease-grant", o.Total, do))
}

// leasePut puts with --leases of the leases that there are.
func leasePut(ctx context.Context, o *Options) error {
	links, err := connect(o)
	if err != nil {
		return err
	}
	answer, err := pb.NewLeaseClient(links[0]).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return err
	}
	if len(answer.Leases) < o.Leases {
		return errors.New("there are fewer leases than --leases: grant them first")
	}
	leases := make([]int64, o.Leases)
	for i := range leases {
		leases[i] = answer.Leases[i].ID
	}
	return finish(run(ctx, o, "lease-put", o.Total, putter(o, leases)))
}
