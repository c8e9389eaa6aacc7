/** The only composition root: builds the rooms, starts them in order, stops them in reverse. */
import './network/polyfill.js'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { DaemonPort } from './api/daemon-port.js'
import { CalibrationDesk } from './api/calibration-desk.js'
import { ImageDesk } from './api/image-desk.js'
import { ImageShelf } from './api/image-shelf.js'
import { BlobDesk } from './api/blob-desk.js'
import { LocalPort } from './api/local-port.js'
import type { Beat } from './api/job-view.js'
import { nodeView, peerViews } from './api/node-view.js'
import { reputationView } from './api/reputation-view.js'
import { createApiServer } from './api/server.js'
import { adoptFile } from './blob/adopt.js'
import { askHolding } from './blob/ask-holding.js'
import { BlobServer } from './blob/blob-server.js'
import { BlobStore } from './blob/blob-store.js'
import { BlobTransfer } from './blob/blob-transfer.js'
import { addFolder, folderFiles, readFolder, writeFolder } from './blob/folder.js'
import { Pins } from './blob/pins.js'
import { ProviderRecords } from './blob/provider-records.js'
import { ProviderStandings } from './blob/provider-standing.js'
import { Scrubber } from './blob/scrubber.js'
import { systemClock } from './clock.js'
import type { Clock } from './clock.js'
import type { Config } from './config.js'
import type { ContainerRuntime } from './container/container-runtime.js'
import { DockerRuntime } from './container/docker-runtime.js'
import { EngineImages } from './container/engine-images.js'
import { inspectImageArchive } from './container/image-inspect.js'
import { removeWorkFolder } from './container/work-folder.js'
import { compressZstd } from './container/zstd.js'
import { CtdError, errorCode, errorMessage } from './errors.js'
import { Events } from './events.js'
import { calibrate } from './executor/calibrate.js'
import { createExecute, inWorker } from './executor/execute.js'
import { Executor } from './executor/executor.js'
import { decodeFetch, encodeFetch } from './executor/fetch-state.js'
import { JobBlobs } from './executor/job-blobs.js'
import { Hardware } from './executor/offering.js'
import { ReplicaLogs } from './executor/replica-logs.js'
import { runBenchmark } from './hardware/benchmark.js'
import { SystemProbe } from './hardware/probe.js'
import { loadIdentity } from './identity.js'
import { IdleMemory } from './idle-memory.js'
import { createLog } from './log.js'
import { createLibp2pTransport } from './network/libp2p-transport.js'
import type { Transport } from './network/transport.js'
import { sealFault } from './protocol/fault.js'
import { isEnded } from './protocol/job-step.js'
import { metricsIn } from './protocol/job.js'
import { artifactsOf, mayBeArtifact } from './protocol/selection.js'
import { deriveVrfSecret } from './protocol/vrf.js'
import { OutputUpdates } from './requester/output-updates.js'
import { OwnBlobs } from './requester/own-blobs.js'
import { Requester } from './requester/requester.js'
import { openDatastore } from './store/datastore.js'
import { Store } from './store/store.js'
import { AGENT } from './version.js'
import { createSigner, seal } from './wire/envelope.js'
import { FOLDER_LIMITS } from './wire/folder.js'
import type { AnyOpened, Opened } from './wire/envelope.js'
import { Bundle } from './wire/generated/control.js'
import { fromHex, parsePeerId, peerIdFromPublicKey, toHex, utf8 } from './wire/ids.js'
import type { Digest, JobId, PeerId } from './wire/ids.js'
import { jobTopic, topicsOf } from './wire/topics.js'
import { Announcer } from './witness/announcer.js'
import { assertCapabilityRecord, CapabilityBook, newestCapability } from './witness/capabilities.js'
import { createControl } from './witness/control.js'
import { Courier } from './witness/courier.js'
import { evidenceFile } from './witness/evidence-file.js'
import { EvidenceRounds } from './witness/evidence-rounds.js'
import { FaultBook } from './witness/fault-book.js'
import { Fence } from './witness/fence.js'
import { Inbox } from './witness/inbox.js'
import { KnownPeers } from './witness/known-peers.js'
import { ReceiptArchive } from './witness/receipt-archive.js'
import { ReputationBook } from './witness/reputation-book.js'

/** Parts that a test build replaces; the product has no switch for them. */
export interface DaemonOverrides {
  readonly runtime?: (real: ContainerRuntime) => ContainerRuntime
  readonly transport?: (real: Transport) => Transport
  /** Sees every own message before it is sent, and may send another. */
  readonly outgoing?: (opened: AnyOpened) => AnyOpened
  readonly clock?: Clock
}

export interface Daemon {
  readonly port: DaemonPort
  readonly peerId: PeerId
  /** Resolves once the machine has been measured. */
  readonly ready: Promise<void>
  stop(): Promise<void>
}

const BUILTIN_WORKER = new URL('./training/builtin-worker.js', import.meta.url)
const HOLDER_MS = 3_000
/** Peers that trickle must not hold up a job for ever. */
const READ_OUTPUT_MS = 2 * 3600_000
/** Without a new piece from anybody for so long an accepted output is lost, and made again. */
const OUTPUT_GIVE_UP_MS = 30_000
/** What does not stop in this time is left behind. */
const STOP_STEP_MS = 4_000
/** Folders of a home, for the owner's eyes alone. */
const FOLDERS = ['db', 'peers', 'blobs', 'work'] as const

/**
 * Starts a daemon in a home of its own.
 *
 * @throws CtdError IDENTITY_*, STORE_LOCKED, LISTEN_FAILED, SOCKET_*
 */
export async function startDaemon(
  config: Config,
  overrides: DaemonOverrides = {},
): Promise<Daemon> {
  const clock = overrides.clock ?? systemClock
  const startedMs = clock.now()
  const log = (room: string): ReturnType<typeof createLog> => createLog(config.logLevel, room)
  const { network, times } = config
  const seed = await loadIdentity(config.home)
  const signer = createSigner(seed)
  const self = signer.peerId
  const vrfSecret = deriveVrfSecret(seed)
  const operator = config.operator === '' ? self : parsePeerId(config.operator)
  const topics = topicsOf(network)
  const workDir = join(config.home, 'work')
  for (const folder of FOLDERS) {
    await mkdir(join(config.home, folder), { recursive: true, mode: 0o700 })
    await chmod(join(config.home, folder), 0o700)
  }

  const memory = new IdleMemory(clock)

  // Tools.
  const store = await Store.open(join(config.home, 'db'))
  const datastore = await openDatastore(join(config.home, 'peers'))
  const blobs = await BlobStore.open(join(config.home, 'blobs'), {
    quotaBytes: config.diskMiB * 1024 ** 2,
  })
  const realTransport = await createLibp2pTransport({
    seed,
    topics: topics.all,
    preset: config.preset,
    listen: config.listen,
    announce: config.announce,
    bootstrap: config.bootstrap,
    datastore,
    onBytes: (count) => memory.moved(count),
    records: {
      validate: (key, value) => {
        assertCapabilityRecord(network, key, value)
      },
      select: (_key, values) => {
        const newest = newestCapability(network, values)
        return Math.max(
          0,
          values.findIndex((value) => newest !== undefined && Buffer.compare(value, newest) === 0),
        )
      },
    },
    onWarning: (code, error) => {
      log('network').debug({ code, detail: String(error) }, 'network warning')
    },
  })
  const transport = overrides.transport?.(realTransport) ?? realTransport
  const engineImages = new EngineImages(
    {
      clock,
      log: log('container'),
      ledger: {
        put: (configDigest, text) => store.put('image', configDigest, text, true),
        delete: (configDigest) => store.delete('image', configDigest),
        list: (limit) => store.list('image', limit),
      },
      isLeased: (configDigest) => leasedImages().includes(configDigest),
    },
    { budgetBytes: config.imageMiB * 1024 ** 2 },
  )
  await engineImages.load()
  /** Images of the jobs that run or wait here, others' and own. */
  const leasedImages = (): readonly string[] => {
    const working = executor.replicas.filter(({ phase }) => phase !== 'done' && phase !== 'failed')
    const own = requester.runners().filter(({ state }) => !isEnded(state))
    return [
      ...working.map(({ options }) => options.manifest.message.image),
      ...own.map(({ context }) => context.manifest.message.image),
    ].flatMap((image) => (image === undefined ? [] : [toHex(image.configDigest)]))
  }
  const realRuntime = new DockerRuntime({ socketPath: config.engineSocket, images: engineImages })
  const runtime = overrides.runtime?.(realRuntime) ?? realRuntime
  const blobServer = new BlobServer(
    { store: blobs },
    {
      maxUploadBytesPerSecond: bytesPerSecond(config.uploadMiBps),
      onRot: (digest) => void scrubber.suspect(digest),
    },
  )
  const blobLog = log('blob')
  const standings = new ProviderStandings({
    clock,
    ledger: {
      put: (peer, text) => store.put('provider', peer, text),
      delete: (peer) => store.delete('provider', peer),
      list: (limit) => store.list('provider', limit),
    },
    onUnwritten: (error) => {
      blobLog.warn({ detail: errorMessage(error) }, 'the standing of a provider is not kept')
    },
  })
  await standings.load()
  const transfer = new BlobTransfer(
    { store: blobs, transport, standings },
    {
      maxDownloadBytesPerSecond: bytesPerSecond(config.downloadMiBps),
      onFault: ({ digest, peer, fault, reason }) => {
        const { standing } = standings.get(peer)
        events.emit('blob:refused', { digest, peer, fault, reason, standing })
        blobLog.warn({ digest, peer, fault, reason, standing }, 'a peer was of no use for a blob')
      },
      onPiece: ({ digest, index, peer, isNew }) => {
        blobLog.debug({ digest, piece: index, peer, isNew }, 'a piece was verified')
      },
    },
  )
  const shelf = new ImageShelf(
    {
      adopt: (path, holder) => adoptFile(blobs, path, { holder }),
      hold: (holder, digest) => blobs.hold(holder, digest),
      release: (holder) => blobs.release(holder),
    },
    { cpuReference: config.image, dir: join(config.home, 'images') },
  )
  await shelf.load()
  const probe = new SystemProbe({ dataDir: config.home })
  const pins = new Pins({
    store: blobs,
    clock,
    folderFiles: (digest) => folderFiles(blobs, digest),
    ledger: {
      put: (digest, text) => store.put('pin', digest, text, true),
      delete: (digest) => store.delete('pin', digest),
      list: (limit) => store.list('pin', limit),
    },
  })
  await pins.load()
  const records = new ProviderRecords({ transport, clock, log: log('blob') })

  // Books.
  const events = new Events(clock)
  const known = new KnownPeers(config.home, clock)
  await known.load()
  known.meet(self)
  const capabilities = new CapabilityBook()
  const archive = new ReceiptArchive({ store, log: log('witness') })
  await archive.load()
  const faults: FaultBook = new FaultBook({
    network,
    store,
    log: log('witness'),
    isKnown: (peer) => capabilities.get(peer) !== undefined || known.has(peer),
    onFaulty: (peer, { kind, words, first, second }) => {
      events.emit('peer:excluded', { peer, kind, words, first: first.id, second: second.id })
      log('witness').warn({ peer, kind, detail: words }, 'a peer is excluded for ever')
    },
  })
  await faults.load()
  const reputation = new ReputationBook({
    network,
    store,
    clock,
    log: log('witness'),
    faults,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    onForgotten: (receiptId) => archive.forget(receiptId),
  })
  await reputation.load()
  const fence = new Fence({ store, clock, log: log('witness') })
  await fence.load()
  const courier = new Courier({ transport, clock, log: log('witness') })
  const evidence = new EvidenceRounds(
    {
      network,
      clock,
      log: log('witness'),
      courier,
      archive,
      faults,
      reputation,
      connectedPeers: () => transport.connectedPeers(),
    },
    { roundMs: times.evidenceMs },
  )
  const beats = new Map<string, Beat>()
  const logs = new ReplicaLogs(clock)

  const inbox: Inbox = new Inbox({
    network,
    clock,
    log: log('witness'),
    onUnknownJob: (jobId, from, author) => {
      void fetchManifest(jobId, [author, from])
    },
    onEquivocation: (first, second) => {
      faults.take(sealFault(first, second)).then(
        (isNew) => {
          if (isNew) evidence.spread()
        },
        (error: unknown) => {
          const fields = { code: errorCode(error), detail: errorMessage(error) }
          log('witness').debug(fields, 'two messages that accuse nobody')
        },
      )
    },
  })
  const asked = new Set<JobId>()
  async function fetchManifest(jobId: JobId, holders: readonly PeerId[]): Promise<void> {
    if (asked.has(jobId) || asked.size > 1024) return
    asked.add(jobId)
    for (const peer of holders) {
      try {
        const { envelopes } = Bundle.decode(await courier.ask(peer, 'job-messages', utf8(jobId)))
        for (const bytes of envelopes.slice(0, 256)) await inbox.receive(bytes, peer)
        if (inbox.record(jobId) !== undefined) break
      } catch {
        // The next holder may answer.
      }
    }
    asked.delete(jobId)
  }

  function topicFor(opened: AnyOpened): string {
    if (opened.kind === 'capability') return topics.capability
    if (opened.kind === 'offer') {
      return (opened.message.requirements?.gpus ?? 0) > 0 ? topics.offer.gpu : topics.offer.cpu
    }
    const record = opened.kind === 'manifest' ? undefined : inbox.recordOf(opened.id)
    return jobTopic(topics, record?.jobId ?? (opened.id as string as JobId))
  }

  /** Remembers an own message, tells everyone, and hands it to those who wait for it. */
  function send(original: AnyOpened, to: readonly PeerId[]): void {
    const opened = overrides.outgoing?.(original) ?? original
    const mayLeave = fence.pass(opened, () => {
      void courier.publish(topicFor(opened), opened)
      handOver(opened, to)
    })
    if (mayLeave) inbox.note(opened)
  }

  function sendTo(original: AnyOpened, to: readonly PeerId[]): void {
    const opened = overrides.outgoing?.(original) ?? original
    fence.pass(opened, () => {
      handOver(opened, to)
    })
  }

  function handOver(opened: AnyOpened, to: readonly PeerId[]): void {
    for (const peer of to) {
      if (peer === self) void inbox.receive(opened.bytes, self)
      else courier.deliver(peer, opened)
    }
  }

  const ownBlobs = new OwnBlobs({
    blobs,
    log: log('requester'),
    readFolder: (digest) => readFolder(blobs, digest),
  })
  const jobBlobs = new JobBlobs({
    clock,
    log: log('executor'),
    blobs,
    filesOf: async (root) => ((await folderFiles(blobs, root)) ?? []).map(({ digest }) => digest),
    ledger: {
      put: (key, text) => store.put('output', key, text),
      delete: (key) => store.delete('output', key),
      list: (limit) => store.list('output', limit),
    },
    provide: (digest) => records.provide(digest),
    withdraw: (digest) => {
      // What its owner pinned is still offered.
      if (pins.get(digest) === undefined) void records.withdraw(digest)
    },
    onReleased: (jobId) => inbox.letGo(jobId),
  })
  await jobBlobs.load()

  const updates = new OutputUpdates({ blobs, transfer })

  // People.
  const requester = new Requester(
    {
      clock,
      log: log('requester'),
      store,
      note: (opened) => {
        inbox.note(opened)
      },
      send,
      connectedPeers: () => transport.connectedPeers(),
      score: (peer, atMs) => reputation.scoreAt(peer, atMs),
      prefixOf: (peer) => transport.prefixOf(peer),
      receiptRoot: () => reputation.quote(),
      readOutput: async (runner, output, providers, given) => {
        const signal = AbortSignal.any([given, AbortSignal.timeout(READ_OUTPUT_MS)])
        const holder = ownBlobs.holderOf(runner.context.jobId)
        // After a restart nobody is connected yet, and those who made it may have moved.
        const fetch = (digest: Digest, maxBytes: number): Promise<unknown> =>
          transfer.fetch(digest, providers, {
            ...{ signal, holder, maxBytes, giveUpMs: OUTPUT_GIVE_UP_MS },
            findMore: (step) => providersOf(digest, step),
          })
        await fetch(output.root, FOLDER_LIMITS.bytes)
        const files = await readFolder(blobs, output.root)
        let leftBytes = runner.context.plan.resources.outMiB * 1024 ** 2
        const { context, state } = runner
        for (const artifact of artifactsOf(context.plan, metricsIn(state))) {
          if (artifact.batch !== output.batch || artifact.slot !== output.slot) continue
          for (const file of files) {
            if (artifact.file !== undefined && artifact.file !== file.path) continue
            const maxBytes = file.sizeBytes
            leftBytes -= maxBytes
            if (leftBytes < 0) {
              throw new CtdError('OUTPUT_TOO_LARGE', 'the artifacts exceed the size asked for')
            }
            await fetch(file.digest, maxBytes)
          }
        }
        if (output.told !== undefined) {
          await updates.check(output.told, files, providers, {
            signal,
            holder,
            maxBytes: leftBytes,
          })
        }
        return files
      },
      notify: (jobId, type, fields) => {
        events.emit(type, { jobId, ...fields })
      },
      onEnded: (jobId) => {
        memory.afterWork()
        inbox.letGo(jobId)
        const runner = requester.runner(jobId)
        if (runner !== undefined) ownBlobs.onEnded(runner)
        for (const key of beats.keys()) {
          const taskId = key.slice(0, 64)
          if (inbox.recordOf(taskId)?.jobId === jobId) beats.delete(key)
        }
      },
      onRestored: async (runner) => {
        if (!isEnded(runner.state)) inbox.hold(runner.context.jobId)
        await ownBlobs.hold(runner)
      },
      onDropped: (jobId) => {
        ownBlobs.release(jobId)
      },
    },
    { ...times, network, signer, vrfSecret, operator },
  )

  /** The DHT's, and whoever is connected: each says at once whether it has the blob. */
  const holdersOf = async (digest: Digest, signal: AbortSignal): Promise<PeerId[]> => {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(HOLDER_MS)])
    const found = await transport.findProviders(digest, patience).catch(() => [])
    return [...new Set([...found, ...transport.connectedPeers()])].filter((peer) => peer !== self)
  }
  const providersOf = async (digest: Digest, signal: AbortSignal): Promise<PeerId[]> =>
    blobs.has(digest) ? [] : holdersOf(digest, signal)

  const hardware = new Hardware(
    {
      clock,
      log: log('hardware'),
      runtime,
      probe: (signal) => probe.read(signal),
      benchmark: async (isolation, signal) =>
        runBenchmark(
          // The machine is measured as it is, whatever a test build does to results.
          { runtime: realRuntime, probe },
          { image: await shelf.reference('cpu'), owner: self, workRoot: workDir, isolation },
          signal,
        ),
    },
    {
      isExecutor: config.execute,
      memoryMiB: config.memoryMiB,
      diskMiB: config.diskMiB,
      seats: config.seats,
      isolation: config.isolation,
      publishers: config.publishers.map(parsePeerId),
      blocked: config.blocked.map(parsePeerId),
    },
  )

  const executor: Executor = new Executor(
    {
      network,
      signer,
      clock,
      log: log('executor'),
      store,
      send,
      sendTo,
      record: (jobId) => inbox.record(jobId),
      recordOf: (id) => inbox.recordOf(id),
      offering: () => {
        const offering = hardware.offering()
        return { ...offering, blocked: [...offering.blocked, ...faults.accused()] }
      },
      hardwareClass: () => hardware.hardwareClass,
      flopsMega: () => hardware.flopsMega,
      receive: (bytes, from) => {
        void inbox.receive(bytes, from)
      },
      heartbeat: async (replica, steward) => {
        const { fetch, ...progress } = replica.progress
        const { taskId } = replica.options
        const beat = {
          ...{ taskId: fromHex(taskId), phase: replica.phase, ...progress },
          ...(fetch && replica.phase === 'fetching' && { fetch: encodeFetch(fetch) }),
        }
        const { bytes } = seal(network, 'heartbeat', beat, signer)
        const answer = await courier.ask(steward, 'heartbeat', bytes)
        return { isAwaited: answer[0] === 1, missed: Bundle.decode(answer.subarray(1)).envelopes }
      },
      work: createExecute(
        {
          blobs,
          transfer,
          runtime,
          addFolder: (dir, signal, holder) => addFolder(blobs, dir, { signal, holder }),
          writeFolder: (digest, dir) => writeFolder(blobs, digest, dir, { link: true }),
          findProviders: providersOf,
          findHolders: holdersOf,
          askHolding: (peer, digest, signal) => askHolding(transport, { peer, digest }, signal),
          filesOf: (digest) => readFolder(blobs, digest),
          onFetched: (jobId, digests) => jobBlobs.onFetched(jobId, digests),
          onOutput: ({ options: { jobId, slot } }, root) => {
            const plan = inbox.record(jobId)?.plan
            const isArtifact = plan !== undefined && mayBeArtifact(plan, slot)
            return jobBlobs.keep(jobId, root, isArtifact)
          },
          holderOf: (jobId) => {
            inbox.hold(jobId)
            return jobBlobs.holderOf(jobId)
          },
          onLog: (replica, text) => {
            logs.add(replica.options.jobId, replica.options.slot.name, self, text)
          },
          onProgram: (replica, kind, id) => {
            const { jobId, slot } = replica.options
            events.emit('replica:started', { jobId, name: slot.name, kind, id })
          },
        },
        {
          self,
          workDir,
          inputBytesMax: () => hardware.offering().diskMiB * 1024 ** 2,
          gpuUuids: () => hardware.gpuUuids,
          builtinWorker: BUILTIN_WORKER,
        },
      ),
      openUpdate: async ({ options }, root) =>
        updates.open(await readFolder(blobs, root), options.task.message.inputs),
      onPhase: (replica) => {
        const { jobId, slot } = replica.options
        if (replica.phase === 'done' || replica.phase === 'failed') memory.afterWork()
        events.emit('replica:moved', {
          jobId,
          name: slot.name,
          phase: replica.phase,
          ...replica.progress,
        })
      },
    },
    { vrfSecret, operator, seats: config.seats, heartbeatMs: times.heartbeatMs },
  )

  const announcer = new Announcer(
    { clock, log: log('witness'), transport, courier, capabilities, store },
    {
      network,
      signer,
      topic: topics.capability,
      gossip: config.capabilityGossip,
      describe: () => ({
        ...hardware.capability(),
        role: config.role,
        agent: AGENT,
        operator,
        vrfSecret,
      }),
    },
  )

  inbox.onMessage((opened) => {
    if (opened.kind !== 'capability') known.meet(opened.author)
    switch (opened.kind) {
      case 'capability':
        if (capabilities.take(opened)) {
          known.meet(opened.author)
          events.emit('peer:benchmarked', { peer: opened.author })
          // A peer connects before it is measured; only from now on it bids.
          requester.onPeer(opened.author, 'connected')
        }
        return
      case 'bid':
      case 'decline':
      case 'vrfOpen':
      case 'commitment':
      case 'sketchCommitment':
      case 'sketch':
      case 'reveal':
      case 'failure': {
        const record = inbox.recordOf(opened.id)
        if (record !== undefined) requester.onMessage(record.jobId, opened)
        return
      }
      case 'receipt':
        executor.onMessage(opened)
        onReceipt(opened).catch((error: unknown) => {
          log('witness').error(
            { code: errorCode(error), detail: errorMessage(error) },
            'receipt lost',
          )
        })
        return
      case 'jobEnd':
        executor.onMessage(opened)
        jobBlobs.onEnded(toHex(opened.message.jobId) as JobId)
        return
      default:
        executor.onMessage(opened)
    }
  })

  async function onReceipt(receipt: Opened<'receipt'>): Promise<void> {
    const record = inbox.recordOf(receipt.id)
    if (record === undefined) return
    const verified = await reputation.take(record, receipt)
    if (verified === undefined) return
    await archive.keep(receipt, verified.messages)
    for (const { peer } of receipt.message.executors) {
      const id = peerIdFromPublicKey(peer)
      events.emit('reputation:changed', {
        peer: id,
        reliabilityPpm: reputation.score(id).reliabilityPpm,
      })
    }
  }

  transport.onStream(blobServer.serve)
  transport.onRequest(
    createControl({
      network,
      log: log('witness'),
      inbox,
      onHeartbeat: ({ author, message }) => {
        const taskId = toHex(message.taskId)
        const record = inbox.recordOf(taskId)
        const runner = record === undefined ? undefined : requester.runner(record.jobId)
        const { phase, step, total, note } = message
        const fetch = message.fetch && { fetch: decodeFetch(message.fetch) }
        const isAwaited = runner?.onHeartbeat(taskId, author, message.phase) ?? false
        if (isAwaited) {
          beats.set(`${taskId}/${author}`, { phase, step, total, note, ...fetch })
          const { jobId } = record ?? {}
          events.emit('task:progressed', { jobId, peer: author, phase, step, total, ...fetch })
        }
        const tail = runner?.tailOf(taskId) ?? []
        return { isAwaited, missed: tail.map(({ bytes }) => bytes) }
      },
      jobAnswer: async (method, jobId, from) => {
        const record = inbox.record(jobId)
        const runner = requester.runner(jobId)
        if (method === 'job-messages') {
          return record && Bundle.encode({ envelopes: [record.manifest.bytes] })
        }
        if (method === 'job-logs') {
          // What containers print may tell of the data: it is for the submitter alone.
          return record?.manifest.author === from ? utf8(JSON.stringify(logs.of(jobId))) : undefined
        }
        if (method === 'job-status' && runner !== undefined)
          return utf8(JSON.stringify(port.view(runner)))
        if (method === 'job-transcript' && record?.end !== undefined) {
          return port.transcript(jobId, AbortSignal.timeout(HOLDER_MS))
        }
        return undefined
      },
      evidence: {
        archive,
        faults,
        onChanged: (from) => {
          evidence.onHint(from)
        },
      },
    }),
  )
  for (const topic of topics.all) {
    transport.subscribe(topic, async (bytes, from) => (await inbox.receive(bytes, from)).verdict)
  }
  transport.onPeer(({ peer, kind }) => {
    events.emit(`peer:${kind}`, { peer })
    requester.onPeer(peer, kind)
    if (kind === 'connected') {
      known.meet(peer)
      announcer.onConnected(peer)
      records.onConnected()
      evidence.onConnected(peer)
    }
  })

  const scrubber = new Scrubber({
    store: blobs,
    clock,
    log: log('blob'),
    isIdle: () => executor.executing === 0,
    refetch: async (digest, signal) =>
      transfer.fetch(digest, await providersOf(digest, signal), { signal }),
    onRot: (rot) => {
      events.emit('blob:rotted', { ...rot })
      log('blob').warn({ ...rot }, 'the disk gave back other bytes than were written')
    },
  })
  const desk = new BlobDesk({
    blobs,
    transfer,
    pins,
    records,
    scrubber,
    clock,
    home: config.home,
    folderFiles: (digest) => folderFiles(blobs, digest),
    linkFolder: (dir, holder, signal) => addFolder(blobs, dir, { holder, signal, link: true }),
    providersOf,
  })
  const imageDesk = new ImageDesk({
    blobs,
    shelf,
    engineImages,
    runtime,
    clock,
    inspect: inspectImageArchive,
    compress: compressZstd,
  })
  const calibration = new CalibrationDesk({
    hardwareClass: () => hardware.hardwareClass,
    calibrate: (asked, onProgress, signal) =>
      calibrate(
        {
          runtime,
          image: () => shelf.reference('cpu'),
          builtin: (request, stop) => inWorker(BUILTIN_WORKER, request, stop),
        },
        { ...asked, owner: self, workDir, isolation: config.isolation[0] ?? 'runc' },
        onProgress,
        signal,
      ),
  })
  const port = new LocalPort({
    desk,
    imageDesk,
    calibration,
    folderFiles: (digest) => folderFiles(blobs, digest),
    scratchDir: workDir,
    network,
    clock,
    blobs,
    transfer,
    requester,
    inbox,
    courier,
    events,
    beats,
    addFolder: (dir, holder) => addFolder(blobs, dir, { holder }),
    image: (name, holder) => shelf.image(name, holder),
    providersOf,
    holdersOf: async (jobId, signal) => {
      const author = inbox.record(jobId)?.manifest.author
      const patience = AbortSignal.any([signal, AbortSignal.timeout(HOLDER_MS)])
      const providers = await transport
        .findProviders(jobId as string as Digest, patience)
        .catch(() => [])
      const all = [
        ...(author === undefined ? [] : [author]),
        ...providers,
        ...transport.connectedPeers(),
      ]
      return [...new Set(all)].filter((peer) => peer !== self)
    },
    onSubmitted: async (jobId) => {
      const runner = requester.runner(jobId)
      if (runner !== undefined) {
        if (!isEnded(runner.state)) inbox.hold(jobId)
        await ownBlobs.hold(runner)
      }
      void transport
        .provide(jobId as string as Digest, AbortSignal.timeout(60_000))
        .catch(() => undefined)
    },
    peers: async () => {
      await announcer.refresh(AbortSignal.timeout(HOLDER_MS))
      const connected = transport.connectedPeers()
      return peerViews({ self, capabilities, reputation, standings, connected })
    },
    evidence: (roots) => evidenceFile({ network, reputation, archive, faults }, roots),
    reputation: (peer, atMs) => reputationView({ reputation, faults, standings }, peer, atMs),
    node: () =>
      nodeView({
        config,
        self,
        startedMs,
        transport,
        hardware,
        executor,
        requester,
        blobs,
        pins,
        agent: AGENT,
      }),
  })
  const server = createApiServer(port, {
    socketPath: config.socket,
    onUnexpectedError: (error) => {
      log('api').error({ detail: errorMessage(error) }, 'a request failed')
    },
  })

  await runtime.cleanUp(self, []).catch(() => 0) // No engine: nothing was left running.
  await clearWork(workDir).catch((error: unknown) => {
    log('executor').warn({ detail: errorMessage(error) }, 'leftovers of earlier tasks stay')
  })
  await transport.start()
  try {
    // Before the socket answers: nobody may be told that a job of ours is unknown.
    await requester.restore()
    await server.start()
  } catch (error) {
    await requester.stop()
    await transport.stop()
    await datastore.close()
    await store.close()
    throw error
  }
  evidence.start()
  for (const { digest } of pins.list()) records.provide(digest)
  scrubber.start()
  const stopping = new AbortController()
  const ready = hardware.measure(stopping.signal).then(() => {
    memory.afterWork()
    return announcer.announce()
  })
  ready.catch((error: unknown) => {
    log('hardware').warn({ detail: String(error) }, 'the machine could not be measured')
  })

  return {
    port,
    peerId: self,
    ready,
    stop: async () => {
      stopping.abort()
      executor.stop()
      memory.stop()
      announcer.stop()
      evidence.stop()
      courier.stop()
      records.stop()
      scrubber.stop()
      blobServer.stop()
      const inTime = (name: string, step: Promise<unknown>): Promise<void> =>
        settledInTime(step, (detail) => {
          log('daemon').warn({ step: name, detail }, 'did not stop in time or well')
        })
      await Promise.all([
        inTime('api', server.stop()),
        inTime('requester', requester.stop()),
        inTime(
          'hardware',
          ready.catch(() => undefined),
        ), // Told when it failed.
      ])
      await Promise.all([
        inTime(
          'containers',
          runtime.cleanUp(self, []).catch(() => 0),
        ), // No engine: nothing runs.
        inTime('network', transport.stop()),
        inTime('known peers', known.stop()),
        inTime('standings of providers', standings.stop()),
      ])
      await Promise.all([
        inTime('peer store', datastore.close()),
        inTime('database', store.close()),
      ])
    },
  }
}

/** A limit of the configuration; 0 is none. */
function bytesPerSecond(miBps: number): number {
  return miBps === 0 ? Infinity : miBps * 1024 ** 2
}

/** What tasks of an earlier process left; whatever is mounted inside is unmounted first. */
async function clearWork(workDir: string): Promise<void> {
  await removeWorkFolder(workDir)
  await mkdir(workDir, { recursive: true, mode: 0o700 })
}

/** Waits for a step for some seconds; tells when it fails or takes longer. Never rejects. */
async function settledInTime(
  step: Promise<unknown>,
  onTrouble: (detail: string) => void,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      onTrouble(`still under way after ${STOP_STEP_MS} ms`)
      resolve()
    }, STOP_STEP_MS)
  })
  const done = step.then(
    () => undefined,
    (error: unknown) => {
      onTrouble(errorMessage(error))
    },
  )
  await Promise.race([done, late])
  clearTimeout(timer)
}
