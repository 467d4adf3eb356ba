------------------------------- MODULE Spine -------------------------------
(* The spine of KubeBraid: a sequencer that may be succeeded, owners with    *)
(* fence records, a map that moves and splits tablets, one router that       *)
(* releases a watch and answers linearizable reads.                          *)
(*                                                                           *)
(* Nobody ever stops in time here. A deposed owner goes on allocating,       *)
(* committing, registering and answering. A commit that was sent lands at    *)
(* any later moment, or never. An old sequencer answers, however late, every *)
(* request that was SENT in its reign: "collect, check the lease, allocate"  *)
(* promises exactly that and no more (Lease.tla shows it).                   *)
(*                                                                           *)
(* Mut holds the names of planted faults. With Mut = {} this is the design;  *)
(* each name takes one rule away, and TLC has to find what goes wrong then.  *)
(* The rules are told in rules.md; README.md says how to run this.           *)
EXTENDS Naturals, Sequences, FiniteSets, TLC
CONSTANTS Win,     \* revisions in the window of one cepoch; it is never renewed here
          MaxCep,  \* reigns of sequencers
          NW,      \* writes
          NR,      \* linearizable reads
          NMap,    \* map versions; 1: the map never changes
          NUnc,    \* commits whose outcome the owner does not learn
          NCrash,  \* shards that lose their memory
          Kinds,   \* {"move"}, {"split"} or both; a planned move and a failover are one thing
          Own0,    \* << shard of tablet 1, shard of tablet 2 >> at the beginning
          Watch, Fast, \* BOOLEAN: a watch of everything; reads sent to the owner at once
          Mut      \* names of planted faults

Sh == {1, 2}
Tb == {1, 2, 3, 4}            \* tablets 3 and 4 are what tablet 1 is split into
Kids == {3, 4}
LinA == {1, 3, 4}             \* the keys of tablet 1, whoever holds them: what the reader reads
M(x) == x \in Mut
Max(a, b) == IF a > b THEN a ELSE b
MaxS(S) == IF S = {} THEN 0 ELSE CHOOSE x \in S : \A y \in S : y <= x

\* A sample: reign, map version, R, and last[t] of every tablet, all of one instant.
NoS == [cep |-> 0, mv |-> 0, R |-> 0, last |-> [t \in Tb |-> 0]]

\* What a shard holds of a tablet. ep: its owner epoch, 0 if it never owned it. on: it still takes
\* itself for the owner. st: "idle", "alloc" (asked), "have" (revision r in hand), "commit" (sent),
\* "unc" (sent, outcome unknown). cep: the reign it knows; g: the reign in which it asked; fl: the
\* highest revision anybody had acknowledged when the write came; fe: the fence as it wrote it
\* last; cl: closed[t]; ev: the revisions it has published; res: the engine's answer; blk: a
\* revision kept for later (only the fault "prefetch" does that).
Blank == [ep |-> 0, on |-> FALSE, st |-> "idle", cep |-> 1, g |-> 0, r |-> 0, fl |-> 0,
          fe |-> [ep |-> 0, last |-> 0, n |-> 0], cl |-> 0, ev |-> {}, res |-> "", blk |-> 0]
NoMig == [t |-> 0, to |-> 0, H |-> 0, cep |-> 0]     \* to = 0: a split
\* The read: ft, fc, fev are the tablet, closed and rows of an early answer of the owner.
NoRd == [st |-> "no", fl |-> 0, g |-> 0, ft |-> 0, fc |-> 0, fev |-> {}, s |-> NoS]

VARIABLES
  maps,    \* the replicated log's maps: version -> tablet -> owner (0: none), epoch, H
  cepoch,  \* the newest reign
  seq,     \* reign -> its sequencer: next revision, last[t], map version applied, frozen tablets
  fence,   \* tablet -> the stored fence: owner epoch, last, nonce
  log,     \* tablet -> the revisions that are durable
  own,     \* shard -> tablet -> see Blank
  smp,     \* shard -> the newest sample it can relay
  cms,     \* commits on their way to the engine
  mig,     \* the migration between FROZEN and COMMITTED
  nw, nr, unc, ncr,       \* how much of each budget is spent
  ackmax,  \* the highest revision a client knows of
  rmax,    \* the highest R at which the reader saw all of LinA
  rt,      \* the router: its map, sample, closed[t], events received, revision released
  rd,      \* the read under way
  err      \* what went wrong that a client can see
vars == <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
          rt, rd, err>>

B(c) == (c - 1) * Win         \* everything that reign c did not issue itself lies at or below B(c)
Act(v) == {t \in Tb : maps[v][t].o # 0}
SeqR(c) == seq[c].nx - 1
\* One instant (M10). tornSample: R is read after an allocation that last[] does not show yet.
SeqSample(c) == [cep |-> c, mv |-> seq[c].mv, last |-> seq[c].last,
                 R |-> IF M("tornSample") THEN seq[c].nx ELSE SeqR(c)]
Newer(a, b) == \/ a.cep > b.cep
               \/ a.cep = b.cep /\ (a.R > b.R \/ (a.R = b.R /\ a.mv > b.mv))
AllLog == UNION {log[t] : t \in Tb}
Upd(s, t, rec) == own' = [own EXCEPT ![s][t] = rec]
Owns(v, t, s, e) == maps[v][t].o = s /\ maps[v][t].ep = e

Init ==
  /\ maps = << [t \in Tb |-> IF t \in Kids THEN [o |-> 0, ep |-> 0, H |-> 0]
                                           ELSE [o |-> Own0[t], ep |-> 1, H |-> 0]] >>
  /\ cepoch = 1
  /\ seq = [c \in 1..MaxCep |->
             [nx |-> B(c) + 1, last |-> [t \in Tb |-> 0], mv |-> 1, frz |-> {}]]
  /\ fence = [t \in Tb |-> [ep |-> IF t \in Kids THEN 0 ELSE 1, last |-> 0, n |-> 0]]
  /\ log = [t \in Tb |-> {}]
  /\ own = [s \in Sh |-> [t \in Tb |->
             IF t \notin Kids /\ Own0[t] = s
             THEN [Blank EXCEPT !.ep = 1, !.on = TRUE, !.fe = [ep |-> 1, last |-> 0, n |-> 0]]
             ELSE Blank]]
  /\ smp = [s \in Sh |-> NoS]
  /\ cms = {} /\ mig = NoMig /\ nw = 0 /\ nr = 0 /\ unc = 0 /\ ncr = 0 /\ ackmax = 0 /\ rmax = 0
  /\ rt = [mv |-> 1, s |-> NoS, cl |-> [t \in Tb |-> 0], got |-> {}, rel |-> 0]
  /\ rd = NoRd /\ err = ""

-----------------------------------------------------------------------------
(* The owner: one write at a time stands for one group commit.               *)

\* The write is here before its revision is asked for. prefetch: it takes one of an old block.
StartWrite(s, t) == LET o == own[s][t] IN
  /\ nw < NW /\ o.on /\ o.st = "idle" /\ nw' = nw + 1
  /\ Upd(s, t, IF M("prefetch") /\ o.blk # 0
               THEN [o EXCEPT !.st = "have", !.r = o.blk, !.blk = 0, !.fl = ackmax]
               ELSE [o EXCEPT !.st = "alloc", !.g = cepoch, !.fl = ackmax])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* May reign c answer what was asked in reign g? Only what was sent before it ended.
MayServe(c, g) == c = cepoch \/ g = c \/ M("checkThenCollect")

\* The sequencer grants. It compares the owner epoch with its applied map, and the tablet is thawed.
AllocProc(s, t) ==
  LET o == own[s][t]
      c == o.cep
      q == seq[c]
      k == IF M("prefetch") THEN 2 ELSE 1 IN
  /\ o.st = "alloc" /\ MayServe(c, o.g)
  /\ (Owns(q.mv, t, s, o.ep) /\ t \notin q.frz) \/ M("noEpochCheck")
  /\ q.nx + k - 1 <= B(c) + Win
  /\ seq' = [seq EXCEPT ![c].nx = q.nx + k, ![c].last[t] = q.nx + k - 1]
  /\ Upd(s, t, [o EXCEPT !.st = "have", !.r = q.nx, !.blk = IF k = 2 THEN q.nx + 1 ELSE 0])
  /\ smp' = [smp EXCEPT ![s] =
       LET n == [cep |-> c, mv |-> q.mv, R |-> q.nx + k - 1, last |-> seq'[c].last]
       IN IF Newer(n, @) THEN n ELSE @]
  /\ UNCHANGED <<maps, cepoch, fence, log, cms, mig, nw, nr, unc, ncr, ackmax, rmax, rt, rd, err>>

\* The sequencer refuses a deposed owner, which then stops. An epoch that is NEWER than the applied
\* map's is not stale, it waits (M3). staleOnNewer: it is refused like an old one.
AllocStale(s, t) == LET o == own[s][t]  q == seq[o.cep] IN
  /\ o.st = "alloc" /\ MayServe(o.cep, o.g) /\ ~Owns(q.mv, t, s, o.ep) /\ ~M("noEpochCheck")
  /\ maps[q.mv][t].ep >= o.ep \/ M("staleOnNewer")
  /\ Upd(s, t, [o EXCEPT !.st = "idle", !.on = FALSE])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* The owner hears of a new reign: it drops what it asked for or got from the old one (M1).
\* keepOldAnswer: a revision of the old reign is used after the owner has registered.
LearnCep(s, t) == LET o == own[s][t] IN
  /\ o.on /\ o.cep < cepoch
  /\ Upd(s, t, IF o.st = "alloc" \/ (o.st = "have" /\ ~M("keepOldAnswer"))
               THEN [o EXCEPT !.cep = cepoch, !.st = "idle", !.r = 0, !.blk = 0]
               ELSE [o EXCEPT !.cep = cepoch])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* Registration after a takeover. Only the accepted owner, with nothing in hand, may close at B.
\* regPending: although a commit's outcome is open. regUnchecked: the sequencer accepts anybody.
Register(s, t) == LET o == own[s][t] IN
  /\ o.on /\ o.cep = cepoch /\ cepoch > 1 /\ o.cl < B(cepoch)
  /\ o.st \in {"idle", "alloc"} \/ M("regPending") \/ (M("keepOldAnswer") /\ o.st = "have")
  /\ Owns(seq[cepoch].mv, t, s, o.ep) \/ M("regUnchecked")
  /\ Upd(s, t, [o EXCEPT !.cl = B(cepoch)])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* The batch leaves for the engine with the fence it expects and the fence it writes.
\* pubEarly: published and closed before it is durable.
SendCommit(s, t) ==
  LET o == own[s][t]
      m == [t |-> t, s |-> s, exp |-> o.fe, r |-> o.r, fl |-> o.fl,
            new |-> [ep |-> o.ep, last |-> o.r, n |-> o.fe.n + 1]] IN
  /\ o.st = "have"
  /\ cms' = cms \cup {m}
  /\ Upd(s, t, IF M("pubEarly")
               THEN [o EXCEPT !.st = "commit", !.res = "", !.ev = @ \cup {o.r}, !.cl = o.r]
               ELSE [o EXCEPT !.st = "commit", !.res = ""])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* The engine: compare the fence, write the rows and the new fence at once. It may do so at any
\* time, also when the owner has given the batch up. noFence: it compares nothing.
\* Whatever a client could notice about a commit that lands is noticed here.
CommitApply(m) ==
  LET ok == fence[m.t] = m.exp \/ M("noFence")
      o == own[m.s][m.t]
      wait == o.st = "commit" /\ o.r = m.r /\ o.ep = m.new.ep IN
  /\ cms' = cms \ {m}
  /\ log' = IF ok THEN [log EXCEPT ![m.t] = @ \cup {m.r}] ELSE log
  /\ fence' = IF ok /\ ~M("noFence") THEN [fence EXCEPT ![m.t] = m.new] ELSE fence
  /\ own' = IF wait THEN [own EXCEPT ![m.s][m.t].res = IF ok THEN "ok" ELSE "fail"] ELSE own
  /\ err' = IF ~ok THEN err
            ELSE IF m.r \in AllLog THEN "revision used twice"
            ELSE IF m.r <= MaxS(log[m.t]) THEN "tablet revisions go down"
            ELSE IF m.r <= m.fl THEN "real-time order"
            ELSE IF Watch /\ m.r <= rt.rel THEN "commit below watch progress"
            ELSE IF m.t \in LinA /\ m.r <= rmax THEN "snapshot changes after it was read"
            ELSE IF m.t = 1 /\ fence[3].ep > 0 THEN "commit on retired parent"
            ELSE err
  /\ UNCHANGED <<maps, cepoch, seq, smp, mig, nw, nr, unc, ncr, ackmax, rmax, rt, rd>>

\* Durable: acknowledge, publish, close. Refused by the fence: another owner is there, stop.
CommitRes(s, t) == LET o == own[s][t] IN
  /\ o.st = "commit" /\ o.res # ""
  /\ IF o.res = "ok"
     THEN /\ Upd(s, t, [o EXCEPT !.st = "idle", !.res = "", !.r = 0, !.ev = @ \cup {o.r},
                        !.cl = Max(@, o.r),
                        !.fe = IF M("noFence") THEN @
                               ELSE [ep |-> o.ep, last |-> o.r, n |-> o.fe.n + 1]])
          /\ ackmax' = Max(ackmax, o.r)
     ELSE /\ Upd(s, t, [o EXCEPT !.st = "idle", !.res = "", !.on = FALSE]) /\ UNCHANGED ackmax
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, unc, ncr, rmax, rt, rd, err>>

\* No answer came, or an error that says nothing.
Timeout(s, t) == LET o == own[s][t] IN
  /\ o.st = "commit" /\ unc < NUnc /\ unc' = unc + 1
  /\ Upd(s, t, [o EXCEPT !.st = "unc", !.res = ""])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, ncr, ackmax, rmax,
                 rt, rd, err>>

\* Settle it: rewrite the fence under the next nonce, so that the lost commit cannot land any more,
\* and only then believe what last says. A higher owner epoch: say nothing about the revision.
\* noRewrite: look without writing. resolveIgnoresEpoch: decide although somebody else owns it.
Resolve(s, t) ==
  LET o == own[s][t]
      f == fence[t]
      mine == f.ep = o.ep
      done == f.last = o.r IN
  /\ o.st = "unc"
  /\ fence' = IF mine /\ ~M("noRewrite") THEN [fence EXCEPT ![t] = [f EXCEPT !.n = @ + 1]]
                                         ELSE fence
  /\ IF (mine \/ M("resolveIgnoresEpoch")) /\ done
     THEN /\ Upd(s, t, [o EXCEPT !.st = "idle", !.r = 0, !.ev = @ \cup {o.r}, !.cl = Max(@, o.r),
                        !.fe = fence'[t]])
          /\ ackmax' = Max(ackmax, o.r)
     ELSE IF mine \/ M("resolveIgnoresEpoch")
     THEN /\ Upd(s, t, [o EXCEPT !.st = "idle", !.r = 0, !.cl = Max(@, o.r), !.fe = fence'[t]])
          /\ UNCHANGED ackmax
     ELSE /\ Upd(s, t, [o EXCEPT !.st = "idle", !.on = FALSE]) /\ UNCHANGED ackmax
  /\ UNCHANGED <<maps, cepoch, seq, log, smp, cms, mig, nw, nr, unc, ncr, rmax, rt, rd, err>>

\* Not part of the design, but allowed: an allocation that the owner does not know is void, if the
\* very answer that names it proves the ownership (voidUnknownProved). Taken from any answer
\* (voidUnknownAny) it is a fault.
VoidUnknown(s, t) == LET o == own[s][t] IN
  /\ M("voidUnknownAny") \/ M("voidUnknownProved")
  /\ o.on /\ o.st = "idle" /\ o.cep = cepoch /\ o.cl < seq[cepoch].last[t]
  /\ M("voidUnknownAny") \/ Owns(seq[cepoch].mv, t, s, o.ep)
  /\ Upd(s, t, [o EXCEPT !.cl = seq[cepoch].last[t]])
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* A new owner: rewrite the fence under the map's epoch, read the log, close at H (M12). For a
\* child the same batch retires the parent (M13). adoptNoFence: nothing is written.
\* closeAtFence: closes where the last commit ended. parentOpen: the parent's fence is left alone.
Adopt(s, t, v) ==
  LET a == maps[v][t]
      o == own[s][t]
      nf == [ep |-> a.ep, n |-> fence[t].n + 1,
             last |-> IF t \in Kids THEN a.H ELSE fence[t].last]
      evs == log[t] \cup (IF t \in Kids THEN {r \in log[1] : r <= a.H} ELSE {}) IN
  /\ a.o = s /\ a.ep > o.ep /\ fence[t].ep < a.ep
  /\ fence' = IF M("adoptNoFence") THEN fence
              ELSE IF t \in Kids /\ fence[t].ep = 0 /\ fence[1].ep < a.ep /\ ~M("parentOpen")
              THEN [fence EXCEPT ![t] = nf, ![1] = [@ EXCEPT !.ep = a.ep, !.n = @ + 1]]
              ELSE [fence EXCEPT ![t] = nf]
  /\ Upd(s, t, [Blank EXCEPT !.ep = a.ep, !.on = TRUE, !.cep = cepoch, !.ev = evs,
                             !.fe = IF M("adoptNoFence") THEN fence[t] ELSE nf,
                             !.cl = IF M("closeAtFence") THEN fence[t].last ELSE a.H])
  /\ UNCHANGED <<maps, cepoch, seq, log, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* A shard forgets everything. What it had sent may still land. It comes back by a new epoch (M6).
\* restartSameEpoch: it serves again under the epoch it had.
Crash(s) ==
  /\ ncr < NCrash /\ ncr' = ncr + 1
  /\ own' = [own EXCEPT ![s] = [t \in Tb |->
       LET o == own[s][t] IN
       IF M("restartSameEpoch") /\ o.on
       THEN [Blank EXCEPT !.ep = o.ep, !.on = TRUE, !.cep = o.cep, !.fe = fence[t],
                          !.cl = fence[t].last, !.ev = log[t]]
       ELSE Blank]]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, smp, cms, mig, nw, nr, unc, ackmax, rmax,
                 rt, rd, err>>

-----------------------------------------------------------------------------
(* The sequencer and the map.                                                *)

\* The next reign starts behind the window of the old one. It knows no last[t], so it takes B for
\* all. noB: it takes what the map says, and a commit of the old reign is overlooked.
Takeover ==
  LET v == Len(maps) IN
  /\ cepoch < MaxCep /\ cepoch' = cepoch + 1
  /\ seq' = [seq EXCEPT ![cepoch + 1] =
       [nx |-> B(cepoch + 1) + 1, mv |-> v, frz |-> {},
        last |-> [t \in Tb |-> IF maps[v][t].o = 0 THEN 0
                               ELSE IF M("noB") THEN maps[v][t].H ELSE B(cepoch + 1)]]]
  /\ UNCHANGED <<maps, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax, rt, rd, err>>

\* Writes of t stop at the sequencer, which fixes H. noFreeze: they do not stop.
Freeze(t, to) == LET q == seq[cepoch] IN
  /\ mig.t = 0 /\ Len(maps) < NMap /\ q.mv = Len(maps) /\ t \in Act(q.mv)
  /\ \/ to \in Sh /\ "move" \in Kinds
     \/ to = 0 /\ t = 1 /\ "split" \in Kinds
  /\ mig' = [t |-> t, to |-> to, H |-> q.last[t], cep |-> cepoch]
  /\ seq' = IF M("noFreeze") THEN seq ELSE [seq EXCEPT ![cepoch].frz = @ \cup {t}]
  /\ UNCHANGED <<maps, cepoch, fence, log, own, smp, cms, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* The entry COMMITTED of the replicated log, the point of no return. It counts only in the reign
\* that fixed H (M2). noCepochCas: it counts in any.
CommitMap == LET m == maps[Len(maps)] IN
  /\ mig.t # 0 /\ (mig.cep = cepoch \/ M("noCepochCas"))
  /\ maps' = Append(maps, IF mig.to = 0
       THEN [m EXCEPT ![1] = [o |-> 0, ep |-> m[1].ep, H |-> mig.H],
                      ![3] = [o |-> m[1].o, ep |-> m[1].ep + 1, H |-> mig.H],
                      ![4] = [o |-> m[1].o, ep |-> m[1].ep + 1, H |-> mig.H]]
       ELSE [m EXCEPT ![mig.t] = [o |-> mig.to, ep |-> m[mig.t].ep + 1, H |-> mig.H]])
  /\ mig' = NoMig
  /\ UNCHANGED <<cepoch, seq, fence, log, own, smp, cms, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* The entry ABORTED: the sequencer thaws the tablet when it has applied it (M5).
AbortMig ==
  /\ mig.t # 0 /\ mig' = NoMig
  /\ seq' = [seq EXCEPT ![mig.cep].frz = @ \ {mig.t}]
  /\ UNCHANGED <<maps, cepoch, fence, log, own, smp, cms, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* A fault: the sequencer's own timer thaws while the entry COMMITTED may still be on its way.
LocalUnfreeze ==
  /\ M("localUnfreeze") /\ mig.t # 0 /\ seq[mig.cep].frz # {}
  /\ seq' = [seq EXCEPT ![mig.cep].frz = {}]
  /\ UNCHANGED <<maps, cepoch, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

\* The sequencer applies the next map: thaw, and the children begin at last = H.
\* kidLast0: a tablet it has no entry of is read as 0.
SeqApply == LET q == seq[cepoch]  m == maps[q.mv + 1] IN
  /\ q.mv < Len(maps)
  /\ seq' = [seq EXCEPT ![cepoch] = [q EXCEPT !.mv = @ + 1, !.frz = {},
               !.last = [t \in Tb |-> IF t \in Kids /\ m[t].o # 0 /\ maps[q.mv][t].o = 0
                                      THEN (IF M("kidLast0") THEN 0 ELSE m[t].H)
                                      ELSE q.last[t]]]]
  /\ UNCHANGED <<maps, cepoch, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, rd, err>>

-----------------------------------------------------------------------------
(* The router's watch of everything.                                         *)

RMap ==
  /\ (Watch \/ Fast) /\ rt.mv < Len(maps) /\ rt' = [rt EXCEPT !.mv = @ + 1]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rd, err>>

\* A stream keeps its order, so what the router has is what the owner was at some earlier time;
\* pulling at any moment is any delay.
RPull(s, t) == LET o == own[s][t] IN
  /\ Watch /\ maps[rt.mv][t].o = s /\ o.ep > 0 /\ (o.cl > rt.cl[t] \/ ~(o.ev \subseteq rt.got))
  /\ rt' = [rt EXCEPT !.cl[t] = Max(@, o.cl), !.got = @ \cup o.ev]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rd, err>>

RSample(x) ==
  /\ Watch /\ Newer(x, rt.s) /\ rt' = [rt EXCEPT !.s = x]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rd, err>>

\* The map by which a sample of map version mv is read. noMapver: by whatever is loaded.
\* staleMap: by an older map, if the sample's is not there yet.
MapFor(mv) == IF M("noMapver") \/ (M("staleMap") /\ rt.mv < mv) THEN rt.mv ELSE mv

\* All of R may be shown once every tablet of the sample's own map has closed what it was given.
Release ==
  /\ Watch /\ rt.s.R > rt.rel /\ rt.s.mv > 0
  /\ rt.mv >= rt.s.mv \/ M("noMapver") \/ M("staleMap")
  /\ \A t \in Act(MapFor(rt.s.mv)) : rt.cl[t] >= rt.s.last[t]
  /\ rt' = [rt EXCEPT !.rel = rt.s.R]
  /\ err' = IF \E r \in AllLog : r <= rt.s.R /\ r \notin rt.got
            THEN "watch: event lost below released R"
            ELSE IF \E r \in rt.got : r <= rt.s.R /\ r \notin AllLog THEN "watch: phantom event"
            ELSE err
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rd>>

-----------------------------------------------------------------------------
(* The linearizable read of the keys of tablet 1.                            *)

RdInv ==
  /\ nr < NR /\ rd.st = "no" /\ nr' = nr + 1
  /\ rd' = [NoRd EXCEPT !.st = "inv", !.fl = ackmax, !.g = cepoch]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, unc, ncr, ackmax, rmax,
                 rt, err>>

\* The owner is asked beside the sequencer: it answers what it has closed, without knowing R.
RdFast(s, t) == LET o == own[s][t] IN
  /\ Fast /\ rd.st \in {"inv", "smp"} /\ rd.ft = 0 /\ t \in LinA \cap Act(rt.mv)
  /\ maps[rt.mv][t].o = s /\ o.ep > 0
  /\ rd' = [rd EXCEPT !.ft = t, !.fc = o.cl, !.fev = {r \in o.ev : r <= o.cl}]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, err>>

RdSample(c) ==
  /\ rd.st = "inv" /\ MayServe(c, rd.g) /\ c <= cepoch
  /\ rd' = [rd EXCEPT !.st = "smp", !.s = SeqSample(c)]
  /\ err' = IF SeqR(c) < rd.fl THEN "read: R below an acknowledged revision" ELSE err
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt>>

\* Everything durable in the keys that the tablet covers, whichever tablet it was written in.
Cov(t) == IF t = 1 THEN log[1] \cup log[3] \cup log[4] ELSE log[1] \cup log[t]
Finish(t, res) ==
  /\ rd' = NoRd /\ rmax' = IF t = 1 THEN Max(rmax, rd.s.R) ELSE rmax
  /\ ackmax' = Max(ackmax, rd.s.R)
  /\ err' = IF res # {r \in Cov(t) : r <= rd.s.R} THEN "read: wrong snapshot" ELSE err
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, rt>>

\* Any shard that ever owned t may answer, if it has closed what the sample says was given to t:
\* so a deposed owner answers rightly or not at all.
RdDo(s, t) == LET o == own[s][t] IN
  /\ rd.st = "smp" /\ t \in LinA /\ t \in Act(MapFor(rd.s.mv))
  /\ o.ep > 0 /\ o.cl >= rd.s.last[t]
  /\ Finish(t, {r \in o.ev : r <= rd.s.R})

\* A sample of a superseded map or reign may wait for ever: take a new one (M4). noRestart: wait.
RdRestart ==
  /\ rd.st = "smp" /\ (seq[cepoch].mv > rd.s.mv \/ cepoch > rd.s.cep) /\ ~M("noRestart")
  /\ rd' = [rd EXCEPT !.st = "inv", !.s = NoS, !.g = cepoch]
  /\ UNCHANGED <<maps, cepoch, seq, fence, log, own, smp, cms, mig, nw, nr, unc, ncr, ackmax, rmax,
                 rt, err>>

\* The early answer is good if last[t] <= closed <= R. fastNoLower, fastNoUpper: one bound missing.
RdFastOk ==
  /\ rd.st = "smp" /\ rd.ft # 0 /\ (rd.ft \in Act(rd.s.mv) \/ M("noMapver"))
  /\ rd.s.last[rd.ft] <= rd.fc \/ M("fastNoLower")
  /\ rd.fc <= rd.s.R \/ M("fastNoUpper")
  /\ Finish(rd.ft, rd.fev)

-----------------------------------------------------------------------------
\* All that can happen has happened: then nothing may be stuck. TLC calls a state without a next
\* step a deadlock, and since every budget is finite each behaviour ends in Stop or in one.
\* (A crash may eat the last map version the bounds allow: nobody adopts then, only safety counts.)
Good == ncr > 0 \/
  /\ mig.t = 0 /\ rd.st = "no" /\ seq[cepoch].mv = Len(maps)
  /\ \A t \in Act(Len(maps)) : LET m == maps[Len(maps)][t]  o == own[m.o][t] IN
       o.ep = m.ep /\ o.on /\ o.st = "idle" /\ o.cl >= seq[cepoch].last[t]
  /\ Watch => rt.rel = SeqR(cepoch)
Stop == Good /\ UNCHANGED vars

Next ==
  \/ \E s \in Sh, t \in Tb :
       \/ StartWrite(s, t) \/ AllocProc(s, t) \/ AllocStale(s, t) \/ LearnCep(s, t)
       \/ Register(s, t) \/ SendCommit(s, t) \/ CommitRes(s, t) \/ Timeout(s, t) \/ Resolve(s, t)
       \/ VoidUnknown(s, t) \/ RPull(s, t) \/ RdFast(s, t) \/ RdDo(s, t)
       \/ \E v \in 1..Len(maps) : Adopt(s, t, v)
  \/ \E m \in cms : CommitApply(m)
  \/ \E s \in Sh : Crash(s) \/ RSample(smp[s])
  \/ RSample(SeqSample(cepoch)) \/ Takeover \/ CommitMap \/ AbortMig \/ LocalUnfreeze \/ SeqApply
  \/ \E t \in Tb, to \in {0, 1, 2} : Freeze(t, to)
  \/ RMap \/ Release \/ RdInv \/ (\E c \in 1..MaxCep : RdSample(c)) \/ RdFastOk \/ RdRestart
  \/ Stop
Spec == Init /\ [][Next]_vars

\* What a client can see.
NoErr == err = ""
\* closed[t] is true for every shard that ever owned t, deposed or not, and for ever.
ClosedTruth ==
  \A s \in Sh, t \in Tb : \A r \in (log[t] \cup (IF t \in Kids THEN log[1] ELSE {})) :
    (own[s][t].ep > 0 /\ r <= own[s][t].cl) => r \in own[s][t].ev
\* Nothing is published that is not durable.
EvDurable == \A s \in Sh, t \in Tb : own[s][t].ev \subseteq (log[t] \cup log[1])
ClosedLeLast ==
  \A s \in Sh, t \in Act(seq[cepoch].mv) : own[s][t].cl <= Max(seq[cepoch].last[t], B(cepoch))
FenceOk == \A t \in Tb : fence[t].ep <= maps[Len(maps)][t].ep \/ t = 1

\* A read at a revision that the client names (M14): whoever has closed it answers it, a retired
\* parent too, and all such answers are right. oldReadOpen: answered without looking at closed.
OldReads ==
  \A s \in Sh, t \in LinA : \A at \in 1..SeqR(cepoch) :
    (own[s][t].ep > 0 /\ (own[s][t].cl >= at \/ M("oldReadOpen")))
      => {r \in own[s][t].ev : r <= at} = {r \in Cov(t) : r <= at}

\* A serializable read over all tablets (M15): what was released is one state of the whole.
\* serialEach: each tablet at its own closed, told as one revision.
SerialAt == IF M("serialEach") THEN MaxS({rt.cl[t] : t \in Tb}) ELSE rt.rel
Serializable == {r \in rt.got : r <= SerialAt} = {r \in AllLog : r <= SerialAt}
=============================================================================
