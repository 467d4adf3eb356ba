-------------------------------- MODULE Txn --------------------------------
(* One transaction over two tablets; tablet 1 is the primary. Beside it each *)
(* tablet takes local writes, owners fail over, the sequencer is taken over, *)
(* and prepare, alloc and decide arrive late or never.                       *)
(*                                                                           *)
(* The order: both tablets PREPARE (a durable intent), then one revision is  *)
(* allocated for both, then the primary DECIDES by writing a cell that is    *)
(* written once, then each tablet applies at that revision. Whoever waits    *)
(* too long with an intent writes ABORT into the cell.                       *)
(*                                                                           *)
(* Mut holds the names of planted faults, as in Spine.tla.                   *)
EXTENDS Naturals, FiniteSets, TLC
CONSTANTS Win, MaxCep, NW, NR,   \* window, reigns, local writes, reads: as in Spine.tla
          NFail,                 \* failovers of an owner
          Mut
Tb == {1, 2}
M(x) == x \in Mut
Max(a, b) == IF a > b THEN a ELSE b

VARIABLES
  cep,     \* the newest reign
  nx, last,  \* reign -> next revision; reign -> last[t]
  p,       \* participant: ep owner epoch, cep the reign it knows, cl closed[t], did: it was asked,
           \* lane: "idle", "local" (write with revision r, asked when fl was acknowledged),
           \* "prep" (a prepare on its way), "int" (the intent is durable)
  log,     \* tablet -> durable revisions
  cell,    \* the decision: "none", "commit" at r, "abort"
  co,      \* coordinator of the transaction: st, who answered (ack) under which epoch (ep), the
           \* reign it asked in (g), its revision (r), late: prepares that may still arrive
  nw, nr, nf,  \* budgets spent
  rd, rmax, ackmax, err  \* as in Spine.tla; got: the tablets read so far, seen: what they showed
vars == <<cep, nx, last, p, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

B(c) == (c - 1) * Win
NoRd == [st |-> "no", R |-> 0, last |-> [t \in Tb |-> 0], fl |-> 0, got |-> {}, seen |-> {}]

Init ==
  /\ cep = 1 /\ nx = [c \in 1..MaxCep |-> B(c) + 1]
  /\ last = [c \in 1..MaxCep |-> [t \in Tb |-> B(c)]]
  /\ p = [t \in Tb |->
           [ep |-> 1, cep |-> 1, lane |-> "idle", r |-> 0, fl |-> 0, cl |-> 0, did |-> FALSE]]
  /\ log = [t \in Tb |-> {}] /\ cell = [st |-> "none", r |-> 0]
  /\ co = [st |-> "prep", ack |-> {}, ep |-> [t \in Tb |-> 0], g |-> 0, r |-> 0, fl |-> 0,
           late |-> {}]
  /\ nw = 0 /\ nr = 0 /\ nf = 0 /\ rd = NoRd /\ rmax = 0 /\ ackmax = 0 /\ err = ""

\* What a client could notice when revision r lands in tablet t.
Bad(t, r, fl) == IF r <= rmax THEN "snapshot changes after it was read"
                 ELSE IF r <= fl THEN "real-time order"
                 ELSE IF \E x \in log[t] : x >= r THEN "tablet revisions go down"
                 ELSE IF r <= p[t].cl THEN "commit at or below closed" ELSE err

-----------------------------------------------------------------------------
(* Local writes                                                              *)

\* A tablet with an intent takes no other write. noLane: it does, and may pass the transaction.
LocalAlloc(t) ==
  /\ nw < NW /\ (p[t].lane = "idle" \/ (M("noLane") /\ p[t].lane = "int"))
  /\ p[t].cep = cep /\ nx[cep] <= B(cep) + Win
  /\ nw' = nw + 1 /\ nx' = [nx EXCEPT ![cep] = @ + 1]
  /\ last' = [last EXCEPT ![cep][t] = nx[cep]]
  /\ IF M("noLane") /\ p[t].lane = "int"
     THEN /\ log' = [log EXCEPT ![t] = @ \cup {nx[cep]}] /\ p' = [p EXCEPT ![t].cl = nx[cep]]
          /\ ackmax' = Max(ackmax, nx[cep])
     ELSE /\ p' = [p EXCEPT ![t].lane = "local", ![t].r = nx[cep], ![t].fl = ackmax]
          /\ UNCHANGED <<log, ackmax>>
  /\ UNCHANGED <<cep, cell, co, nr, nf, rd, rmax, err>>

LocalCommit(t) ==
  /\ p[t].lane = "local" /\ err' = Bad(t, p[t].r, p[t].fl)
  /\ log' = [log EXCEPT ![t] = @ \cup {p[t].r}] /\ ackmax' = Max(ackmax, p[t].r)
  /\ p' = [p EXCEPT ![t].lane = "idle", ![t].cl = Max(@, p[t].r), ![t].r = 0]
  /\ UNCHANGED <<cep, nx, last, cell, co, nw, nr, nf, rd, rmax>>

-----------------------------------------------------------------------------
(* The transaction                                                           *)

\* dupPrep: a prepare is delivered twice.
PrepSend(t) ==
  /\ p[t].lane = "idle" /\ (~p[t].did \/ M("dupPrep")) /\ (t \in co.late \/ co.st = "prep")
  /\ p' = [p EXCEPT ![t].lane = "prep", ![t].did = TRUE]
  /\ UNCHANGED <<cep, nx, last, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

PrepLand(t) ==
  /\ p[t].lane = "prep" /\ p' = [p EXCEPT ![t].lane = "int"]
  /\ co' = [co EXCEPT !.ack = @ \cup {t}, !.ep[t] = p[t].ep]
  /\ UNCHANGED <<cep, nx, last, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* One revision for all, and only when all have prepared. allocBeforePrepare: earlier.
CoSend ==
  /\ co.st = "prep" /\ (co.ack = Tb \/ M("allocBeforePrepare"))
  /\ co' = [co EXCEPT !.st = "alloc", !.g = cep, !.fl = ackmax,
                      !.late = IF M("allocBeforePrepare") THEN Tb ELSE {}]
  /\ UNCHANGED <<cep, nx, last, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* The sequencer of the reign in which it was asked, however late. It accepts the epochs that
\* prepared; allocNoEpoch drops that, and is harmless: the intent moves with the tablet.
CoAlloc == LET c == co.g IN
  /\ co.st = "alloc" /\ nx[c] <= B(c) + Win
  /\ \/ \A t \in Tb : co.ep[t] = p[t].ep
     \/ c < cep \/ M("allocNoEpoch") \/ M("allocBeforePrepare")
  /\ nx' = [nx EXCEPT ![c] = @ + 1] /\ last' = [last EXCEPT ![c] = [t \in Tb |-> nx[c]]]
  /\ co' = [co EXCEPT !.st = "have", !.r = nx[c]]
  /\ UNCHANGED <<cep, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

CoGiveUp ==
  /\ co.st \in {"prep", "alloc"}
  /\ co' = [co EXCEPT !.st = "gone", !.late = IF co.st = "prep" THEN Tb ELSE @]
  /\ UNCHANGED <<cep, nx, last, p, log, cell, nw, nr, nf, rd, rmax, ackmax, err>>

\* COMMIT lands whenever it does: only into an empty cell, and only while the primary's own intent
\* is there (M7). decideWithoutIntent, cellOverwrite: one of the two is not asked for.
Decide ==
  /\ co.st = "have" /\ co.ack = Tb
  /\ cell' = IF \/ cell.st = "none" /\ (p[1].lane = "int" \/ M("decideWithoutIntent"))
                \/ M("cellOverwrite")
             THEN [st |-> "commit", r |-> co.r] ELSE cell
  /\ co' = [co EXCEPT !.st = "gone"]
  /\ UNCHANGED <<cep, nx, last, p, log, nw, nr, nf, rd, rmax, ackmax, err>>

Apply(t) ==
  /\ p[t].lane = "int" /\ cell.st = "commit" /\ err' = Bad(t, cell.r, co.fl)
  /\ log' = [log EXCEPT ![t] = @ \cup {cell.r}]
  /\ p' = [p EXCEPT ![t].lane = "idle", ![t].cl = Max(@, cell.r)]
  /\ ackmax' = Max(ackmax, cell.r)
  /\ UNCHANGED <<cep, nx, last, cell, co, nw, nr, nf, rd, rmax>>

TimeoutAbort(t) ==
  /\ p[t].lane = "int" /\ cell.st = "none" /\ cell' = [st |-> "abort", r |-> 0]
  /\ UNCHANGED <<cep, nx, last, p, log, co, nw, nr, nf, rd, rmax, ackmax, err>>

ApplyAbort(t) ==
  /\ p[t].lane = "int" /\ cell.st = "abort" /\ p' = [p EXCEPT ![t].lane = "idle"]
  /\ UNCHANGED <<cep, nx, last, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* Faults: a cell is forgotten once the primary is done with it (gcCell: any; gcAbort: an ABORT).
GcCell ==
  /\ (M("gcCell") /\ cell.st # "none") \/ (M("gcAbort") /\ cell.st = "abort")
  /\ p[1].lane # "int" /\ cell' = [st |-> "none", r |-> 0]
  /\ UNCHANGED <<cep, nx, last, p, log, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* The right time to forget a COMMIT (switched on by gcCellOk, which is no fault).
GcCellOk ==
  /\ M("gcCellOk") /\ cell.st = "commit" /\ (\A t \in Tb : p[t].lane # "int") /\ co.st = "gone"
  /\ cell' = [st |-> "none", r |-> 0]
  /\ UNCHANGED <<cep, nx, last, p, log, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* An allocation that proves the ownership and takes no revision: what the owner does not know and
\* no intent of its can own is void. voidWithIntent: although there is an intent.
VoidUnknown(t) ==
  /\ p[t].cep = cep /\ p[t].cl < last[cep][t]
  /\ \/ p[t].lane = "idle"
     \/ M("voidWithIntent") /\ p[t].lane = "int"
     \/ M("voidWhilePrep") /\ p[t].lane = "prep"
  /\ p' = [p EXCEPT ![t].cl = last[cep][t]]
  /\ UNCHANGED <<cep, nx, last, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

-----------------------------------------------------------------------------
(* Failover and takeover                                                     *)

\* Freeze, H, adopt in one step: what was on its way dies at the fence, an intent stays, and with
\* an intent nothing is closed. adoptIgnoresIntent: it is.
Failover(t) ==
  /\ nf < NFail /\ nf' = nf + 1
  /\ p' = [p EXCEPT ![t].ep = @ + 1, ![t].cep = cep, ![t].r = 0,
                    ![t].lane = IF @ = "int" THEN "int" ELSE "idle",
                    ![t].did = IF p[t].lane = "prep" THEN FALSE ELSE @,
                    ![t].cl = IF p[t].lane = "int" /\ ~M("adoptIgnoresIntent") THEN @
                              ELSE Max(@, last[cep][t])]
  /\ UNCHANGED <<cep, nx, last, log, cell, co, nw, nr, rd, rmax, ackmax, err>>

Takeover ==
  /\ cep < MaxCep /\ cep' = cep + 1
  /\ UNCHANGED <<nx, last, p, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

\* Drop the old reign's answers, register, close at B; not with an intent in hand (M1).
\* regWithIntent: with one.
Learn(t) ==
  /\ p[t].cep < cep
  /\ p[t].lane \in {"idle", "local"} \/ M("regWithIntent")
  /\ p' = [p EXCEPT ![t].cep = cep, ![t].cl = Max(@, B(cep)),
                    ![t].lane = IF @ = "local" THEN "idle" ELSE @]
  /\ UNCHANGED <<cep, nx, last, log, cell, co, nw, nr, nf, rd, rmax, ackmax, err>>

-----------------------------------------------------------------------------
(* A linearizable read over both tablets                                     *)

RdSample ==
  /\ nr < NR /\ rd.st = "no" /\ nr' = nr + 1
  /\ rd' = [NoRd EXCEPT !.st = "smp", !.R = nx[cep] - 1, !.last = last[cep], !.fl = ackmax]
  /\ err' = IF nx[cep] - 1 < ackmax THEN "stale R" ELSE err
  /\ UNCHANGED <<cep, nx, last, p, log, cell, co, nw, nf, rmax, ackmax>>

RdTab(t) ==
  /\ rd.st = "smp" /\ t \notin rd.got /\ p[t].cl >= rd.last[t]
  /\ LET d == {r \in log[t] : r <= rd.R} IN
     IF rd.got = {}
     THEN rd' = [rd EXCEPT !.got = {t}, !.seen = d] /\ UNCHANGED <<rmax, ackmax, err>>
     ELSE /\ rd' = NoRd
          /\ rmax' = Max(rmax, rd.R) /\ ackmax' = Max(ackmax, rd.R)
          /\ err' = IF rd.seen \cup d # {r \in log[1] \cup log[2] : r <= rd.R}
                    THEN "read: wrong snapshot"
                    ELSE IF co.r # 0 /\ (co.r \in d) # (co.r \in rd.seen)
                    THEN "transaction half visible" ELSE err
  /\ UNCHANGED <<cep, nx, last, p, log, cell, co, nw, nr, nf>>

-----------------------------------------------------------------------------
\* The end: nobody holds anything, all is closed, and the transaction is in both logs or in none.
Good == /\ \A t \in Tb : p[t].lane = "idle" /\ p[t].cl >= last[cep][t]
        /\ rd.st = "no" /\ (co.r # 0 => ((co.r \in log[1]) <=> (co.r \in log[2])))
Stop == Good /\ UNCHANGED vars

Next ==
  \/ \E t \in Tb :
       \/ LocalAlloc(t) \/ LocalCommit(t) \/ PrepSend(t) \/ PrepLand(t) \/ Apply(t)
       \/ TimeoutAbort(t) \/ ApplyAbort(t) \/ VoidUnknown(t) \/ Failover(t) \/ Learn(t) \/ RdTab(t)
  \/ CoSend \/ CoAlloc \/ CoGiveUp \/ Decide \/ GcCell \/ GcCellOk \/ Takeover \/ RdSample
  \/ Stop
Spec == Init /\ [][Next]_vars
NoErr == err = ""
=============================================================================
