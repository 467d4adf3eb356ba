package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/ngaut/unistore/pd"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/tidb/util/codec"
	"google.golang.org/grpc"
)

const (
	splitPatience = 30 * time.Second
	splitPause    = 200 * time.Millisecond
)

// splitAt makes each of the keys the start of a region; PD's own orders to split are not obeyed by the library.
func splitAt(client pd.Client, keys []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), splitPatience)
	defer cancel()
	for _, word := range keys {
		key, err := hex.DecodeString(word)
		if err != nil {
			return err
		}
		if err := splitOne(ctx, client, key); err != nil {
			return fmt.Errorf("split at %s: %w", word, err)
		}
		fmt.Println("split at", word)
	}
	return nil
}

// splitOne asks again until PD tells of a region that begins at the key.
func splitOne(ctx context.Context, client pd.Client, key []byte) error {
	start := codec.EncodeBytes(nil, key)
	var refused error
	for {
		region, err := client.GetRegion(ctx, start)
		if err != nil {
			return fmt.Errorf("%w, after %v", err, refused)
		}
		if region.Meta != nil && bytes.Equal(region.Meta.StartKey, start) {
			return nil
		}
		if region.Meta != nil && region.Leader != nil {
			refused = order(ctx, client, region.Meta, region.Leader, key)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, after %v", ctx.Err(), refused)
		case <-time.After(splitPause):
		}
	}
}

// order asks the store of the region's leader to split it.
func order(ctx context.Context, client pd.Client, region *metapb.Region, leader *metapb.Peer, key []byte) error {
	store, err := client.GetStore(ctx, leader.StoreId)
	if err != nil {
		return err
	}
	connection, err := grpc.DialContext(ctx, store.Address, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	got, err := tikvpb.NewTikvClient(connection).SplitRegion(ctx, &kvrpcpb.SplitRegionRequest{
		Context:   &kvrpcpb.Context{RegionId: region.Id, RegionEpoch: region.RegionEpoch, Peer: leader},
		SplitKeys: [][]byte{key},
	})
	if err != nil {
		return err
	}
	if got.RegionError != nil {
		return fmt.Errorf("%s", got.RegionError)
	}
	return nil
}
