// tikv-store: one store of a TiKV-protocol cluster for tests, on 127.0.0.1: ngaut/unistore as a library, with raft.
//
// It is not TiKV: it speaks its protocol, replicates by raft and splits regions, and its numbers are its own. Where its
// answers differ from TiKV's in a way that a client sees, answers.go mends them. Versions below PD's safe point are
// dropped by compactions, which come often enough for a test to see if `-memtable` is small. `-split` is a client
// instead: it splits regions at the given keys and ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ngaut/unistore/config"
	"github.com/ngaut/unistore/pd"
	"github.com/ngaut/unistore/server"
	"github.com/ngaut/unistore/tikv"
	"github.com/pingcap/kvproto/pkg/deadlock"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/log"
	"github.com/zhangjinpeng1987/raft"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	raftTick      = "100ms" // a heartbeat every 2 ticks, an election after 10 to 20
	leaderLease   = "800ms" // has to be below the shortest election
	pdHeartbeat   = "2s"
	requestMax    = 32 << 20
	clientPingMin = 2 * time.Second // the client pings more often than grpc-go's default allows
	safePointPoll = time.Second     // the library's own, of a minute, is too slow for a test
)

// raftLogger gives the raft library the log of everything else.
type raftLogger struct{ *zap.SugaredLogger }

func (l raftLogger) Warning(v ...interface{})                 { l.Warn(v...) }
func (l raftLogger) Warningf(format string, v ...interface{}) { l.Warnf(format, v...) }

func main() {
	placement := flag.String("pd", "", "addresses of PD, comma separated")
	listen := flag.String("listen", "", "where the store listens")
	advertise := flag.String("advertise", "", "where PD tells clients that it listens, if that is elsewhere")
	data := flag.String("data-dir", "", "folder of its files")
	logFile := flag.String("log-file", "", "file of its log")
	regionKeys := flag.Int64("region-keys", 960000, "a region of 1.5 times so many keys is split")
	memtable := flag.Int64("memtable", config.DefaultConf.Engine.MaxMemTableSize, "bytes that are written before a flush")
	sync := flag.Bool("sync", false, "every write is synced to disk")
	split := flag.String("split", "", "keys in hex, comma separated: split there and end")
	flag.Parse()

	logger, properties, err := log.InitLogger(&log.Config{Level: "warn", File: log.FileLogConfig{Filename: *logFile}})
	exitOn(err)
	log.ReplaceGlobals(logger, properties)
	raft.SetLogger(raftLogger{logger.Sugar()})
	client, err := pd.NewClient(strings.Split(*placement, ","), "")
	exitOn(err)
	if *split != "" {
		exitOn(splitAt(client, strings.Split(*split, ",")))
		return
	}
	exitOn(os.MkdirAll(*data, 0o700))
	settings := config.DefaultConf
	settings.Server.PDAddr = *placement
	settings.Server.StoreAddr = *listen
	if *advertise != "" {
		settings.Server.StoreAddr = *advertise
	}
	settings.Server.Raft = true
	settings.RaftStore.RaftBaseTickInterval = raftTick
	settings.RaftStore.RaftStoreMaxLeaderLease = leaderLease
	settings.RaftStore.PdHeartbeatTickInterval = pdHeartbeat
	settings.Coprocessor.RegionMaxKeys = *regionKeys * 3 / 2
	settings.Coprocessor.RegionSplitKeys = *regionKeys
	settings.Engine.DBPath = *data
	settings.Engine.SyncWrite = *sync
	settings.Engine.MaxMemTableSize = *memtable
	exitOn(serve(*listen, &settings, client))
}

// serve answers until SIGTERM or SIGINT.
func serve(listen string, settings *config.Config, client pd.Client) error {
	socket, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	store, err := server.New(settings, client)
	if err != nil {
		return err
	}
	frontend := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(
			keepalive.EnforcementPolicy{MinTime: clientPingMin, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(requestMax),
	)
	tikvpb.RegisterTikvServer(frontend, answers{store})
	deadlock.RegisterDeadlockServer(frontend, store)
	go followSafePoint(store, client)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ended
		frontend.Stop()
	}()
	fmt.Println("serving on", listen)
	err = frontend.Serve(socket)
	store.Stop()
	return err
}

// followSafePoint tells the store of PD's safe point, as TiKV's own does: it asks PD.
func followSafePoint(store *tikv.Server, client pd.Client) {
	for range time.Tick(safePointPoll) {
		point, err := client.GetGCSafePoint(context.Background())
		if err == nil && point > 0 {
			_, err = store.KvGC(context.Background(), &kvrpcpb.GCRequest{Context: &kvrpcpb.Context{}, SafePoint: point})
		}
		if err != nil {
			log.Warn("safe point", zap.Error(err))
		}
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tikv-store:", err)
		os.Exit(1)
	}
}
