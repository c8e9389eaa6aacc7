/**
 * What `mutants.ts` takes away: each of the twelve defences of the protocol, by edits that leave
 * it out, and the tests that have to notice. An edit is one text of a file in `src` that occurs
 * there exactly once; whoever changes that line changes it here too.
 */

/** One edit that weakens a defence. */
export interface Mutation {
  /** What is true of the protocol after the edit, as a sentence without its subject. */
  readonly name: string
  /** Below `src`. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** The tests that fail then, as `folder/file: title`, the file without `.test.ts`. */
  readonly tests: readonly string[]
}

export interface Defence {
  readonly id: number
  /** The attack it is there against. */
  readonly attack: string
  readonly name: string
  readonly mutations: readonly Mutation[]
}

export const DEFENCES: readonly Defence[] = [
  {
    id: 1,
    attack: "copying a peer's result",
    name: 'salted commitments that are bound to their peer, and reveals that match them',
    mutations: [
      {
        name: 'commitments do not name their peer',
        file: 'protocol/task.ts',
        find: '    publicKeyFromPeerId(input.peer),\n',
        replace: '',
        tests: [
          "unit/slot-step: gain nothing by copying another's commitment and reveal",
          'simulation/adversaries: gains nothing by copying commitments and reveals',
        ],
      },
      {
        name: 'commitments are not salted',
        file: 'protocol/task.ts',
        find: '    sha256(input.metrics),\n    input.salt,\n',
        replace: '    sha256(input.metrics),\n',
        tests: ['unit/attacks: cannot tell by a commitment whether it guessed the result'],
      },
      {
        name: 'stewards take reveals that do not match',
        file: 'protocol/slot-step.ts',
        find: 'if (Buffer.compare(expected, commitment.message.commitment) !== 0) {',
        replace: 'if (expected.length === 0) {',
        tests: [
          'unit/slot-step: count for nothing when they reveal another result than they committed to',
        ],
      },
      {
        name: 'stewards take the commitment of one that others outran',
        file: 'protocol/slot-step.ts',
        find: "    slot.lost.set(peer, { outcome: 'outrun', code: 'OUTRUN', reason })\n",
        replace: '    if (reason.length === 0) slot.lost.delete(peer)\n',
        tests: ['unit/slow-replica: may not commit any more once others revealed'],
      },
      {
        name: 'witnesses take commitments made after the reveals',
        file: 'protocol/slot-chain.ts',
        find: 'if (late !== undefined) {',
        replace: 'if (late?.length === 0) {',
        tests: [
          'unit/slot-chain: is refused with CHAIN_INVALID when one that missed a freeze commits after it',
        ],
      },
      {
        name: 'witnesses take reveals that do not match',
        file: 'protocol/slot-chain.ts',
        find: 'if (commitment === undefined || Buffer.compare(commitment, expected) !== 0) {',
        replace: 'if (commitment === undefined || expected.length === 0) {',
        tests: [
          'unit/attacks: is refused by witnesses even where its steward takes a reveal that does not match',
        ],
      },
    ],
  },
  {
    id: 2,
    attack: 'forging what a result is compared by',
    name: 'the whole result, its numbers, its update and its inputs are bound by the frozen commitments',
    mutations: [
      {
        name: 'commitments do not bind the update',
        file: 'protocol/task.ts',
        find: '    input.updateRoot ?? new Uint8Array(0),\n',
        replace: '',
        tests: ['unit/sketch: is bound by the commitment to the result'],
      },
      {
        name: 'a sketch may be of another update than was committed to',
        file: 'protocol/sketch-message.ts',
        find: 'if (Buffer.compare(updateRootOf(claim), updateRoot) !== 0) {',
        replace: 'if (updateRoot.length === 1) {',
        tests: ['unit/sketch: SKETCH_MISMATCH: must be of the update that was committed to'],
      },
      {
        name: 'chunks are opened without proof',
        file: 'protocol/sketch-message.ts',
        find: 'if (!isIncluded(',
        replace: 'if (values.length === 0 && !isIncluded(',
        tests: ['unit/sketch: SKETCH_MISMATCH: must be of the update that was committed to'],
      },
      {
        name: 'a sketch is made after those of others are known',
        file: 'protocol/sketch-message.ts',
        find: 'Buffer.compare(expected, commitment.message.commitment) === 0',
        replace: 'expected.length === 32',
        tests: [
          'unit/tensors-slot: counts sketch-other as withheld with SKETCH_MISMATCH, and goes on without',
        ],
      },
      {
        name: 'nobody looks whether an output is what its sketch says',
        file: 'requester/output-updates.ts',
        find: 'if (isHonest(sketch.message, own)) return',
        replace: 'if (sketch.message.buckets.length > 0) return',
        tests: ['unit/output-updates: SKETCH_FALSE: is refused when its sketch is of another one'],
      },
      {
        name: 'commitments do not bind the numbers',
        file: 'protocol/task.ts',
        find: '    sha256(input.metrics),\n    input.salt,\n',
        replace: '    input.salt,\n',
        tests: ['unit/attacks: opens a commitment to one root and one set of numbers only'],
      },
      {
        name: 'commitments do not bind the root',
        file: 'protocol/task.ts',
        find: '    input.outputRoot,\n',
        replace: '',
        tests: ['unit/attacks: opens a commitment to one root and one set of numbers only'],
      },
      {
        name: 'results agree whatever their numbers',
        file: 'protocol/task.ts',
        find: 'return digestOf(OUTCOME_DOMAIN, reveal.outputRoot, sha256(reveal.metrics))',
        replace: 'return digestOf(OUTCOME_DOMAIN, reveal.outputRoot)',
        tests: ['unit/attacks: agrees with others only by root and numbers together'],
      },
      {
        name: 'tasks are named without their inputs',
        file: 'protocol/task.ts',
        find: 'parts.push(uint32(text.length), text, digest)',
        replace: 'parts.push(uint32(text.length), text)',
        tests: ['unit/attacks: commits to another task where it was given other inputs'],
      },
      {
        name: 'a commitment may be exchanged when others are known',
        file: 'protocol/slot-chain.ts',
        find: 'if (now.get(peer)?.id !== before.id) {',
        replace: 'if (!now.has(peer)) {',
        tests: ['unit/attacks: cannot exchange its commitment once the first freeze is closed'],
      },
    ],
  },
  {
    id: 3,
    attack: 'always wrong results, alone or together',
    name: 'a credible quorum, and exclusion',
    mutations: [
      {
        name: 'no margin is needed',
        file: 'protocol/verdict.ts',
        find: 'quorumMicro: 4_600_000',
        replace: 'quorumMicro: 0',
        tests: [
          'unit/verdict: escalates when two colluders outnumber one honest peer, and strikes nobody',
          'unit/verdict: never lets a probationer decide, however reliable it looks',
        ],
      },
      {
        name: 'newcomers decide among themselves',
        file: 'protocol/verdict.ts',
        find: 'return group.established && group.establishedOddsMicro - against',
        replace: 'return group.oddsMicro - against',
        tests: ['unit/verdict: never lets a probationer decide, however reliable it looks'],
      },
      {
        name: 'one operator is enough',
        file: 'protocol/verdict.ts',
        find: 'operatorsMin: 2',
        replace: 'operatorsMin: 1',
        tests: ['unit/verdict: counts an operator once'],
      },
      {
        name: 'a young network needs no lead',
        file: 'protocol/verdict.ts',
        find: 'youngLead: 2',
        replace: 'youngLead: 1',
        tests: ['unit/verdict: accepts at a lead of two over all others together'],
      },
      {
        name: 'a wrong result costs nothing',
        file: 'protocol/reputation.ts',
        find: 'failureWrong: 4n * ONE',
        replace: 'failureWrong: 0n',
        tests: [
          'unit/reputation: excludes below 0.30 with two wrong results, for seven days, then returns',
        ],
      },
      {
        name: 'nobody is excluded',
        file: 'protocol/reputation-fold.ts',
        find: 'if (item.failure > 0n) this.#excludeIfDue(item.atMs)',
        replace: '',
        tests: [
          'unit/reputation: excludes below 0.30 with two wrong results, for seven days, then returns',
        ],
      },
      {
        name: 'the excluded are elected',
        file: 'protocol/election.ts',
        find: "  if (candidate.excluded) return 'excluded'\n",
        replace: '',
        tests: ['unit/election: throws NO_ELIGIBLE_BIDS with the counts and reasons'],
      },
    ],
  },
  {
    id: 4,
    attack: 'sleepers that lie where they hold every seat',
    name: 'a hidden replica by a draw that no executor can steer',
    mutations: [
      {
        name: 'no hidden replica is drawn',
        file: 'protocol/election.ts',
        find: 'return (bytesToInteger(hash.subarray(0, 8)) * BigInt(PPM)) >> 64n < BigInt(probabilityPpm)',
        replace: 'return hash.length === 0',
        tests: [
          'unit/slot-step: get a hidden companion before any reveal when the draw says so',
          'unit/election: is drawn at its probability',
        ],
      },
      {
        name: 'the second seed follows from the commitments alone',
        file: 'protocol/ballot.ts',
        find: 'return members.length === 1 ? only : secondSeed(alpha, outputs)',
        replace: 'return only === undefined ? only : alpha',
        tests: [
          'unit/attacks: grind their salts in vain: the hidden replica comes as often as promised',
        ],
      },
      {
        name: 'several stewards draw without their outputs',
        file: 'protocol/election.ts',
        find: 'frozenCommitmentsHash, ...stewardOutputs.toSorted(compareBytes))',
        replace: 'frozenCommitmentsHash)',
        tests: ['unit/election: follows from the outputs of the stewards in any order'],
      },
      {
        name: 'a steward may make up its draw',
        file: 'protocol/ballot.ts',
        find: "const output = proofs === 'verify' ? vrfVerify(key, alpha, proof) : vrfOutput(proof)",
        replace: 'const output = key && vrfOutput(proof)',
        tests: [
          'unit/slot-chain: is refused with VRF_INVALID when an opening or a draw was made up',
        ],
      },
      {
        name: 'a hidden replica that was drawn may be skipped',
        file: 'protocol/slot-chain.ts',
        find: 'task === undefined || this.#previous.kind !== due || this.#isHiddenDue) {',
        replace: 'task === undefined || this.#previous.kind !== due) {',
        tests: [
          'unit/slot-chain: is refused when a hidden replica is skipped, or added without a draw',
        ],
      },
      {
        name: 'all that hold the seats they foresaw count',
        file: 'protocol/verdict.ts',
        find: 'if (!isDisputed) return members',
        replace: 'if (members.length > 0) return members',
        tests: [
          'unit/verdict: counts those whose seats were foreseen as one where somebody else contradicts them',
        ],
      },
    ],
  },
  {
    id: 5,
    attack: 'framing an honest peer by a majority',
    name: 'no strike without a full margin',
    mutations: [
      {
        name: 'any two that agree strike a third',
        file: 'protocol/verdict.ts',
        find: 'const against = others.reduce((sum, other) => sum + other.oddsMicro, 0)',
        replace: 'const against = others.length < 0 ? 1 : 0',
        tests: [
          'unit/verdict: escalates when two colluders outnumber one honest peer, and strikes nobody',
        ],
      },
      {
        name: 'a minority strikes those that outnumber it',
        file: 'protocol/verdict.ts',
        find: '  if (winner.voices <= losers.reduce((sum, { voices }) => sum + voices, 0)) return false\n',
        replace: '',
        tests: ['unit/verdict: spares a crowd that outnumbers the winners'],
      },
      {
        name: 'a young network strikes at two to one',
        file: 'protocol/verdict.ts',
        find: 'youngStrikeRatio: 3',
        replace: 'youngStrikeRatio: 1',
        tests: ['unit/verdict: strikes only at three to one'],
      },
      {
        name: 'a receipt blames whom its steward likes',
        file: 'protocol/slot-chain.ts',
        find: "if (!isFit) throw invalid('VERDICT_MISMATCH', `the receipt tells another outcome of ${peer}`)",
        replace: '',
        tests: [
          'unit/slot-chain: is refused with VERDICT_MISMATCH when the receipt praises or blames whom it likes',
        ],
      },
      {
        name: "a lone steward's word about silence costs standing",
        file: 'protocol/reputation-evidence.ts',
        find: 'if (receipt.stewards < 2) {',
        replace: 'if (receipt.stewards < 1) {',
        tests: ['unit/reputation: weighs a timeout only when more than one steward saw it'],
      },
      {
        name: 'young strikes exclude',
        file: 'protocol/reputation-fold.ts',
        find: 'if (item.halvings > 0n && !item.young) this.#wrongs++',
        replace: 'if (item.halvings > 0n) this.#wrongs++',
        tests: ['unit/reputation: lowers a score by young strikes and never excludes for them'],
      },
    ],
  },
  {
    id: 6,
    attack: 'grinding lottery tickets',
    name: 'bids are frozen before their outputs are opened, over the frozen set',
    mutations: [
      {
        name: 'outputs are not bound to the frozen bids',
        file: 'protocol/ballot.ts',
        find: 'return sha256(ALPHA_DOMAIN, fromHex(offer.id), attempt, fromHex(frozenBidsId))',
        replace:
          'return sha256(ALPHA_DOMAIN, fromHex(offer.id), attempt, fromHex(frozenBidsId).subarray(32))',
        tests: ['unit/attacks: opens another number with another set of frozen bids'],
      },
      {
        name: 'bids are taken after the freeze',
        file: 'protocol/assignment-step.ts',
        find: "if (state.phase !== 'bidding' || toHex(answer.message.offer) !== state.offer.id) return []",
        replace: 'if (toHex(answer.message.offer) !== state.offer.id) return []',
        tests: ['unit/attacks: gets no place by a bid that comes after the freeze'],
      },
      {
        name: 'stewards take outputs without proof',
        file: 'protocol/assignment-step.ts',
        find: '  if (vrfVerify(bid.message.vrfKey, alpha, opening.message.proof) === undefined) return []\n',
        replace: '',
        tests: [
          'unit/assignment-step: counts an opening only with a proof for this offer by a frozen bidder',
        ],
      },
      {
        name: 'witnesses take outputs without proof',
        file: 'protocol/ballot.ts',
        find: '          ? vrfVerify(vrfKey, alpha, opening.message.proof)\n',
        replace: '          ? vrfOutput(opening.message.proof)\n',
        tests: [
          'unit/slot-chain: is refused with VRF_INVALID when an opening or a draw was made up',
        ],
      },
      {
        name: "the ranking ignores other bidders' outputs",
        file: 'protocol/election.ts',
        find: 'uint32Bytes(attempt), frozenBidsHash, ...sorted)',
        replace: 'uint32Bytes(attempt), sorted.length === 0 ? frozenBidsHash : offerHash)',
        tests: [
          'unit/election: keeps the weights when somebody withholds its opening, and turns the seed',
        ],
      },
      {
        name: 'weight is no matter in the lottery',
        file: 'protocol/lottery.ts',
        find: 'key: (negLog2Fixed(u) << 32n) / weightPpm',
        replace: 'key: negLog2Fixed(u) << 32n',
        tests: ['property/election: lets each peer come first in proportion to its weight'],
      },
    ],
  },
  {
    id: 7,
    attack: 'withholding openings and reveals',
    name: 'silence is recorded, costs standing, and moves the draw of nobody else by more than luck',
    mutations: [
      {
        name: 'a withheld reveal passes for bad luck',
        file: 'protocol/slot-step.ts',
        find: "slot.lost.set(peer, { outcome: 'withheld', code, reason })",
        replace: "slot.lost.set(peer, { outcome: 'timed-out', code, reason })",
        tests: [
          'unit/slot-step: are waited for until the reveal window closes when they withhold',
          'simulation/adversaries: is noted when it commits and does not reveal',
        ],
      },
      {
        name: 'withholding costs no standing',
        file: 'protocol/reputation.ts',
        find: 'failureWithheld: ONE / 2n',
        replace: 'failureWithheld: 0n',
        tests: ['unit/reputation: decays credit by half in 30 days and failures by half in 14'],
      },
      {
        name: 'a withheld opening costs no standing',
        file: 'protocol/reputation-evidence.ts',
        find: "kind: 'unopened', failure: failureWithheld",
        replace: "kind: 'unopened', failure: 0n",
        tests: [
          'unit/reputation: counts a bid that was not opened once for each election, if two stewards say so',
        ],
      },
      {
        name: 'a withheld opening is not recorded',
        file: 'protocol/election.ts',
        find: '      unopened.push(candidate.peer)\n',
        replace: '',
        tests: [
          'unit/election: keeps the weights when somebody withholds its opening, and turns the seed',
        ],
      },
      {
        name: 'whoever sees itself outvoted may back out',
        file: 'protocol/slot-step.ts',
        find: '      if (slot.commitments.has(opened.author)) return []\n',
        replace: '',
        tests: ['unit/slot-step: ignores a failure told after the commitment'],
      },
      {
        name: 'a receipt may call a withholder whatever it likes',
        file: 'protocol/slot-chain.ts',
        find: "? ['withheld']\n",
        replace: "? ['withheld', 'timed-out', 'failed']\n",
        tests: ['unit/attacks: cannot be excused by its steward'],
      },
      {
        name: 'whoever does not open moves the weights of others',
        file: 'protocol/election.ts',
        find: 'const weights = weightsOf(bidders)',
        replace:
          'const opened = new Set(input.openings.map(({ peer }) => peer))\n' +
          '  const weights = weightsOf(bidders.filter(({ peer }) => opened.has(peer)))',
        tests: [
          'unit/election: keeps the weights when somebody withholds its opening, and turns the seed',
        ],
      },
    ],
  },
  {
    id: 8,
    attack: 'floods of new identities',
    name: 'newcomers begin low, on one seat a task, and count by operator and address',
    mutations: [
      {
        name: 'newcomers begin trusted',
        file: 'protocol/reputation.ts',
        find: '  reliabilityPpm: 100_000,\n  availabilityPpm: 500_000,',
        replace: '  reliabilityPpm: 900_000,\n  availabilityPpm: 500_000,',
        tests: ['unit/reputation: starts a newcomer at 0.10, one half and one'],
      },
      {
        name: 'the first result makes a peer reliable',
        file: 'protocol/reputation.ts',
        find: 'priorCredit: (4n * ONE) / 10n',
        replace: 'priorCredit: 4n * ONE',
        tests: [
          'unit/attacks: is worth less than with the key that it throws away after a wrong result',
        ],
      },
      {
        name: 'newcomers take every seat',
        file: 'protocol/election.ts',
        find: 'if (onProbation && probationerSeated) deferred.push(candidate)',
        replace: 'if (onProbation && candidate.excluded) deferred.push(candidate)',
        tests: ['unit/election: seats at most one probationer in a slot of a mature network'],
      },
      {
        name: 'one operator takes two seats',
        file: 'protocol/election.ts',
        find: 'if (operators.has(operator) || (prefix',
        replace: 'if ((prefix',
        tests: ['unit/election: lets one peer of an operator into a slot'],
      },
      {
        name: 'one address takes two seats',
        file: 'protocol/election.ts',
        find: "    if (prefix !== '') prefixes.add(prefix)\n",
        replace: '',
        tests: [
          'unit/election: lets one peer of an address prefix into a slot where the offer asks for it',
        ],
      },
      {
        name: 'weight has no maximum',
        file: 'protocol/election.ts',
        find: 'weightCap: 4n',
        replace: 'weightCap: 1_000_000n',
        tests: ['unit/election: caps the weight of a peer at four times the median'],
      },
      {
        name: 'a flood of bids crowds out the established',
        file: 'protocol/election.ts',
        find: '    ...established.slice(0, reserved),\n    ...newcomers.slice(0, newcomerPlaces),\n',
        replace: '    ...newcomers,\n    ...established.slice(0, reserved),\n',
        tests: [
          'unit/election: go to the established first in a flood of newcomers, who keep sixteen',
        ],
      },
      {
        name: 'whoever returns from an exclusion is established still',
        file: 'protocol/reputation-fold.ts',
        find: '    this.#accepted = 0\n    this.#coOperators = new Set()\n',
        replace: '',
        tests: ['unit/reputation: lets an established peer return as a probationer'],
      },
    ],
  },
  {
    id: 9,
    attack: 'saying two things',
    name: 'two signed messages for one place prove a fault, for ever',
    mutations: [
      {
        name: 'two commitments are allowed',
        file: 'protocol/slot-key.ts',
        find: "    case 'commitment':\n",
        replace: '',
        tests: [
          'unit/fault: two commitments to one task accuse their author, in whichever order they are held',
          'simulation/adversaries: hands out a proof against itself when it commits to two things',
        ],
      },
      {
        name: 'two certificates are allowed',
        file: 'protocol/slot-key.ts',
        find: "    case 'freezeOpenings':\n      return `${kind}/${toHex(opened.message.frozenBids)}/${opened.message.view}`\n",
        replace: '',
        tests: ['unit/fault: two certificates for one place accuse whoever signed both'],
      },
      {
        name: 'a bid and a decline are allowed',
        file: 'protocol/slot-key.ts',
        find: 'return `${author}/answer/${toHex(opened.message.offer)}`',
        replace: 'return `${author}/${kind}/${toHex(opened.message.offer)}`',
        tests: ['unit/fault: a bid and a decline of one offer accuse their author'],
      },
      {
        name: 'a proof accuses who signed only one of them',
        file: 'protocol/fault.ts',
        find: 'first.authors.filter((author) => second.authors.includes(author)).sort()',
        replace: '[...first.authors].sort()',
        tests: [
          'unit/fault: FAULT_UNPROVEN: what different peers signed, or signed for different places, proves nothing',
        ],
      },
      {
        name: 'the proven are not excluded',
        file: 'protocol/reputation.ts',
        find: '    reliabilityPpm: 0,\n    established: false,\n    excluded: true,\n',
        replace: '',
        tests: ['unit/evidence: excludes an equivocator for ever, whatever it has earned'],
      },
      {
        name: 'proofs are not passed on',
        file: 'witness/fault-book.ts',
        find: '      this.#faults.set(peer, summaryOf(proven))\n      this.#components.onFaulty',
        replace: '      this.#components.onFaulty',
        tests: ['unit/evidence: excludes an equivocator for ever, whatever it has earned'],
      },
      {
        name: 'an honest peer may contradict itself after a crash',
        file: 'witness/fence.ts',
        find: 'if (before !== undefined && before !== name) {',
        replace: "if (before === 'never') {",
        tests: [
          'unit/evidence: lets a message out again, and never another one for its slot key',
          'unit/evidence: remembers over a crash what had left',
        ],
      },
    ],
  },
  {
    id: 10,
    attack: 'stewards that leave out or make up',
    name: 'acknowledgements, quorums, view changes, and a beacon that draws the set',
    mutations: [
      {
        name: 'anybody may sign certificates',
        file: 'protocol/ballot.ts',
        find: 'if (!isTheirs || !isQuorum(certificate.authors.length, members.size)) {',
        replace: 'if (!isQuorum(certificate.authors.length, members.size)) {',
        tests: ['unit/slot-chain: is refused with NOT_A_STEWARD when another signs a certificate'],
      },
      {
        name: 'one of several stewards may sign alone',
        file: 'protocol/quorum.ts',
        find: 'return Math.ceil((2 * k) / 3)',
        replace: 'return Math.ceil(k / 3)',
        tests: ['unit/stewards: is refused with NOT_A_STEWARD when fewer than two thirds sign'],
      },
      {
        name: 'stewards sign without what they acknowledged',
        file: 'protocol/steward-step.ts',
        find: 'return [...state.acknowledged.keys()].every((author) => authors.has(author))',
        replace: 'return authors.size >= 0',
        tests: ['unit/attacks: never sign a certificate that lacks a bid they acknowledged'],
      },
      {
        name: 'a silent leader is waited for',
        file: 'protocol/steward-step.ts',
        find: "return state.phase === 'agreeing' && event.view === state.view\n        ? enter(context, state, event.view + 1)",
        replace:
          "return state.phase === 'collecting' && event.view === state.view\n        ? enter(context, state, event.view + 1)",
        tests: ['unit/attacks: go on without a leader that says nothing'],
      },
      {
        name: 'stewards sign again in earlier views',
        file: 'protocol/steward-step.ts',
        find: 'return view > Math.max(-1, ...state.votes.keys())',
        replace: 'return view > -1 && state.votes.size < 9',
        tests: ['unit/attacks: sign nothing in an earlier view once they signed in a later one'],
      },
      {
        name: 'who left something out is not accused',
        file: 'protocol/omission.ts',
        find: 'if (!stage.isOf(acknowledgement) || entries.some((entry) => entry.author === author)) {',
        replace: 'if (entries.length >= 0) {',
        tests: [
          'unit/fault: an acknowledged bid that is missing in the freeze accuses the steward, and nobody else',
        ],
      },
      {
        name: 'stewards are the same for every beacon',
        file: 'protocol/stewards.ts',
        find: 'const place = sha256(PLACE_DOMAIN, publicKeyFromPeerId(peer), input.beacon)',
        replace: 'const place = sha256(PLACE_DOMAIN, publicKeyFromPeerId(peer))',
        tests: [
          'unit/attacks: are not neighbours for the next beacon because they were for this one',
        ],
      },
      {
        name: 'one operator holds several places of a set',
        file: 'protocol/stewards.ts',
        find: '    if (operators.has(operator)) continue\n',
        replace: '',
        tests: [
          'unit/stewards: are one of each operator, never the requester, never the excluded or unproven',
        ],
      },
    ],
  },
  {
    id: 11,
    attack: 'farming reputation with tasks of the own',
    name: 'credit that diminishes, only beside another operator, and never for the own tasks',
    mutations: [
      {
        name: 'credit does not diminish',
        file: 'protocol/reputation-evidence.ts',
        find: 'credit: CREDIT_OF_25 / BigInt((5 + submitted) * (5 + paired))',
        replace: 'credit: submitted + paired < 0 ? 0n : ONE',
        tests: ['property/reputation: bounds what a requester and two friends can farm in a week'],
      },
      {
        name: 'credit does not diminish with the partner',
        file: 'protocol/reputation-evidence.ts',
        find: 'BigInt((5 + submitted) * (5 + paired))',
        replace: 'BigInt((5 + submitted) * (paired < 0 ? 0 : 5))',
        tests: ['unit/reputation: diminishes credit for the same requester and the same partner'],
      },
      {
        name: 'tasks of the own give credit',
        file: 'protocol/reputation-evidence.ts',
        find: 'if (partners.length === 0 || isOwn) {',
        replace: 'if (partners.length === 0) {',
        tests: [
          'unit/reputation: gives no credit for a task of its own operator or without another operator',
        ],
      },
      {
        name: 'a task run alone gives credit',
        file: 'protocol/reputation-evidence.ts',
        find: 'if (partners.length === 0 || isOwn) {',
        replace: 'if (isOwn) {',
        tests: [
          'unit/reputation: gives no credit for a task of its own operator or without another operator',
        ],
      },
      {
        name: 'two peers of one operator confirm each other',
        file: 'protocol/reputation-evidence.ts',
        find: ' && other.peer !== peer && other.operator !== operator,',
        replace: ' && other.peer !== peer,',
        tests: [
          'unit/reputation: gives no credit for a task of its own operator or without another operator',
        ],
      },
      {
        name: 'two friends make each other established',
        file: 'protocol/reputation-fold.ts',
        find: 'this.#accepted >= establishedAccepted && this.#coOperators.size >= establishedOperators',
        replace:
          'this.#accepted >= establishedAccepted || this.#coOperators.size >= establishedOperators',
        tests: ['property/reputation: bounds what a requester and two friends can farm in a week'],
      },
      {
        name: 'one task counts as often as it is told',
        file: 'protocol/reputation-evidence.ts',
        find: ' || this.#counted.has(key)) return false',
        replace: ') return false',
        tests: ['unit/reputation: counts a repeated receipt and a second receipt of one task once'],
      },
    ],
  },
  {
    id: 12,
    attack: 'abusing tolerances, and lying about determinism',
    name: 'exact comparison of what is exact, and bounds that no number slips through',
    mutations: [
      {
        name: 'edited weights do not count',
        file: 'protocol/tensors.ts',
        find: 'largest(largest(relative, outlier), opened)',
        replace: 'largest(largest(relative, 0n * outlier), opened)',
        tests: [
          'unit/sketch: finds a single edited weight by its bucket, where the whole is within the tolerance',
        ],
      },
      {
        name: 'opened chunks do not count',
        file: 'protocol/tensors.ts',
        find: 'opened: openedDistance(a, b, tauPpm)',
        replace: 'opened: 0n',
        tests: [
          'unit/sketch: goes by the chunks too: a sketch that was repeated from somebody else is not enough',
        ],
      },
      {
        name: 'what is exact beside the tensors may differ',
        file: 'protocol/tensors.ts',
        find: 'if (a.rest !== b.rest || ',
        replace: 'if (',
        tests: ['unit/sketch: is undefined where names, lengths or other files differ'],
      },
      {
        name: 'built-in tasks are compared within the tolerance',
        file: 'protocol/slot-policy.ts',
        find: " || program.kind === 'builtin'",
        replace: '',
        tests: [
          'unit/tensors-slot: of a train job compares its built-in tasks bit for bit and sketches only training',
        ],
      },
      {
        name: 'rounds may be longer than honest replicas stay together',
        file: 'protocol/plan.ts',
        find: 'return rounds <= plan.rounds.length ? plan',
        replace: 'return rounds > 0 ? plan',
        tests: ['unit/tensors-slot: has no round longer than honest replicas stay together'],
      },
      {
        name: 'near results chain into one',
        file: 'protocol/compare.ts',
        find: 'if (distance > farthest) farthest = distance\n    }\n  }\n  return farthest\n}\n\nfunction rootOf',
        replace:
          'if (farthest === 0n || distance < farthest) farthest = distance\n    }\n  }\n  return farthest\n}\n\nfunction rootOf',
        tests: ['unit/compare: does not chain near results into one group'],
      },
      {
        name: 'exact policies compare the numbers only',
        file: 'protocol/compare.ts',
        find: "case 'exact':\n      return APART\n",
        replace:
          "case 'exact':\n      return metricsDistance(a, b, { atolMicro: 0n, rtolPpm: 0n })\n",
        tests: [
          'unit/compare: groups by equal root under the exact policy, whatever the numbers say',
        ],
      },
      {
        name: 'a number that is left out matches',
        file: 'protocol/compare.ts',
        find: 'if (names.length === 0 || names.length !== Object.keys(right).length) return APART',
        replace: 'if (names.length === 0) return APART',
        tests: [
          'unit/attacks: differs by a number that is left out, in whichever order it is compared',
        ],
      },
      {
        name: 'results without numbers match',
        file: 'protocol/compare.ts',
        find: 'if (names.length === 0 || names.length !== Object.keys(right).length) return APART',
        replace: 'if (names.length !== Object.keys(right).length) return APART',
        tests: ['unit/compare: never matches results that name other numbers, or none'],
      },
      {
        name: 'no tolerance is any tolerance',
        file: 'protocol/compare.ts',
        find: 'if (tolerance <= 0n) return APART',
        replace: 'if (tolerance <= 0n) return 0n',
        tests: ['unit/compare: matches numbers up to the tolerance and not one millionth beyond'],
      },
      {
        name: 'numbers that are none pass for numbers',
        file: 'protocol/metrics.ts',
        find: '(entry): entry is [string, number] => Number.isFinite(entry[1]) && entry[0].length <= 64',
        replace: '(entry): entry is [string, number] => entry[0].length <= 64',
        tests: ['unit/attacks: has finite numbers, or none'],
      },
      {
        name: 'a program that lies about its determinism is an executor that lies',
        file: 'protocol/slot-verdict.ts',
        find: "return verdict.struck.has(peer) ? 'dissented' : 'spared'",
        replace: "return verdict.agreed.length > 0 ? 'dissented' : 'spared'",
        tests: ['unit/attacks: is no fault of who got it where nobody proved that it is wrong'],
      },
    ],
  },
]
