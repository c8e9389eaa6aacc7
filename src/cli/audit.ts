/** `ctd audit`: verifies a transcript and the artifacts beside it again, offline, without a daemon. */
import { createReadStream } from 'node:fs'
import type { Stats } from 'node:fs'
import { lstat, opendir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CtdError } from '../errors.js'
import { auditTranscript } from '../protocol/audit.js'
import type { ArtifactFile, AuditInput, AuditReport } from '../protocol/audit.js'
import { parseTranscript } from '../protocol/transcript.js'
import type { ParsedTranscript } from '../protocol/transcript.js'
import {
  blobDigestOf,
  encodeFolder,
  FOLDER_LIMITS,
  PIECE_BYTES,
  smallBlobDigest,
} from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import { parsePeerId, sha256, toHex } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { EXIT } from './exit-codes.js'
import { formatPairs, harmless } from './terminal.js'

export interface AuditOptions {
  /** Home of the daemon whose acquaintances count as known; it need not exist. */
  readonly home: string
  /** Further peer ids that count as known. */
  readonly trust: readonly string[]
  readonly json: boolean
  /** Where the report goes; stdout by default. */
  readonly print?: (text: string) => void
}

const TRANSCRIPT_FILE = 'transcript.ctd'
const EVIDENCE_FILE = 'evidence.ctd'
const KNOWN_PEERS_FILE = 'known-peers.json'
const KNOWN_PEERS_BYTES_MAX = 16 * 1024 * 1024

/**
 * Audits a transcript file, or a folder written by `ctd results --out`. Of a file named
 * `transcript.ctd` the artifacts beside it are checked as far as they are there; of a folder all
 * must be there.
 *
 * @returns the exit code: ok, verificationFailed or unanchored
 * @throws CtdError FILE_NOT_FOUND, USAGE for a peer id that is none, FILE_UNREADABLE
 */
export async function auditCommand(path: string, options: AuditOptions): Promise<number> {
  const place = await placeOf(path)
  const trusted = new Set([...options.trust.map(trustedPeer), ...(await knownPeers(options.home))])
  const bytes = await readTranscript(place.file)
  const beside = await readBeside(bytes, place)
  const evidence = place.folder === undefined ? undefined : await readEvidence(place.folder)
  const report = auditTranscript({
    bytes,
    trusted,
    ...beside,
    ...(evidence === undefined ? {} : { evidence }),
  })
  const print = options.print ?? ((text: string) => void process.stdout.write(`${text}\n`))
  print(options.json ? JSON.stringify({ file: place.file, ...report }, null, 2) : describe(report))
  if (report.ok) return EXIT.ok
  return report.code === 'unanchored' ? EXIT.unanchored : EXIT.verificationFailed
}

interface Place {
  readonly file: string
  /** Folder with artifacts and listings; undefined for a transcript alone. */
  readonly folder: string | undefined
  readonly isPartial: boolean
}

async function placeOf(path: string): Promise<Place> {
  const status = await statOf(path, stat)
  if (status === undefined) {
    throw new CtdError('FILE_NOT_FOUND', `there is no ${path}`, {
      hint: 'ctd results ID --out DIR writes a folder that can be audited',
    })
  }
  if (!status.isDirectory()) {
    const isResults = basename(path) === TRANSCRIPT_FILE
    return { file: path, folder: isResults ? dirname(path) : undefined, isPartial: true }
  }
  const file = join(path, TRANSCRIPT_FILE)
  if ((await statOf(file, stat)) === undefined) {
    throw new CtdError('FILE_NOT_FOUND', `${path} holds no ${TRANSCRIPT_FILE}`, {
      hint: 'ctd results ID --out DIR writes it beside the artifacts',
    })
  }
  return { file, folder: path, isPartial: false }
}

async function statOf(
  path: string,
  how: (path: string) => Promise<Stats>,
): Promise<Stats | undefined> {
  try {
    return await how(path)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw unreadable(path, error)
  }
}

function isMissing(error: unknown): boolean {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function unreadable(path: string, cause: unknown): CtdError {
  return new CtdError('FILE_UNREADABLE', `${path} cannot be read`, { cause })
}

function trustedPeer(text: string): string {
  try {
    return parsePeerId(text)
  } catch (cause) {
    throw new CtdError('USAGE', `--trust takes peer ids, and ${harmless(text)} is none`, {
      hint: 'ctd peers lists them',
      cause,
    })
  }
}

/** Peers that a daemon of this home has met; none where it never ran. */
async function knownPeers(home: string): Promise<string[]> {
  const path = join(home, KNOWN_PEERS_FILE)
  const status = await statOf(path, stat)
  if (status === undefined || status.size > KNOWN_PEERS_BYTES_MAX) return []
  try {
    const parsed: unknown = JSON.parse(await readFile(path, 'utf8'))
    return parsed === null || typeof parsed !== 'object' ? [] : Object.keys(parsed)
  } catch {
    return [] // A damaged list is no evidence; the report then names the keys as unknown.
  }
}

/** What the bidders were weighed by, where it is beside the transcript. */
async function readEvidence(folder: string): Promise<Uint8Array | undefined> {
  const path = join(folder, EVIDENCE_FILE)
  return (await statOf(path, lstat)) === undefined ? undefined : readTranscript(path)
}

async function readTranscript(path: string): Promise<Uint8Array> {
  const status = await statOf(path, stat)
  if (status !== undefined && status.size > LIMITS.transcriptBytes) {
    throw new CtdError('TRANSCRIPT_TOO_LARGE', `${path} has ${status.size} bytes`, {
      hint: `a transcript has at most ${LIMITS.transcriptBytes}`,
    })
  }
  try {
    return new Uint8Array(await readFile(path))
  } catch (error) {
    throw unreadable(path, error)
  }
}

/** What stands beside a transcript; nothing where the transcript itself does not hold. */
async function readBeside(
  bytes: Uint8Array,
  { folder, isPartial }: Place,
): Promise<Pick<AuditInput, 'listings' | 'artifacts' | 'isPartial'>> {
  if (folder === undefined) return {}
  let transcript: ParsedTranscript
  try {
    transcript = parseTranscript(bytes)
  } catch {
    return {} // The audit says what is wrong with it.
  }
  const listings = await readListings(transcript, join(folder, 'listings'))
  const artifacts = await readArtifacts(transcript, folder, isPartial)
  return { listings, artifacts, isPartial }
}

async function readListings(
  { receipts }: ParsedTranscript,
  folder: string,
): Promise<Map<string, Uint8Array>> {
  const listings = new Map<string, Uint8Array>()
  for (const root of new Set(receipts.map(({ message }) => toHex(message.outputRoot)))) {
    const path = join(folder, `${root}.jsonl`)
    const status = await statOf(path, lstat)
    if (status?.isFile() !== true || status.size > FOLDER_LIMITS.bytes) continue
    try {
      listings.set(root, new Uint8Array(await readFile(path)))
    } catch (error) {
      throw unreadable(path, error)
    }
  }
  return listings
}

async function readArtifacts(
  { plan }: ParsedTranscript,
  folder: string,
  isPartial: boolean,
): Promise<Map<string, ArtifactFile>> {
  const artifacts = new Map<string, ArtifactFile>()
  for (const { path, file } of plan.artifacts) {
    const target = join(folder, path)
    const status = await statOf(target, lstat)
    if (status !== undefined) artifacts.set(path, await artifactAt(target, status, file))
    // An output without files leaves no folder.
    else if (file === undefined && !isPartial) artifacts.set(path, folderOf([]))
  }
  return artifacts
}

const NO_ARTIFACT: ArtifactFile = { digest: undefined, sizeBytes: undefined }

async function artifactAt(
  path: string,
  status: Stats,
  file: string | undefined,
): Promise<ArtifactFile> {
  if (file !== undefined) return status.isFile() ? hashFile(path) : NO_ARTIFACT
  const files = status.isDirectory() ? await listFolder(path) : undefined
  return files === undefined ? NO_ARTIFACT : folderOf(files)
}

function folderOf(files: readonly FolderFile[]): ArtifactFile {
  try {
    return { digest: smallBlobDigest(encodeFolder(files)), sizeBytes: undefined }
  } catch {
    return NO_ARTIFACT // Names that no output may have.
  }
}

/** The blob digest of a file, piece by piece. */
export async function hashFile(
  path: string,
): Promise<{ readonly digest: Digest; readonly sizeBytes: number }> {
  const hashes: Uint8Array[] = []
  let piece: Uint8Array[] = []
  let pieceBytes = 0
  let sizeBytes = 0
  const take = (chunk: Uint8Array): void => {
    piece.push(chunk)
    pieceBytes += chunk.length
    if (pieceBytes < PIECE_BYTES) return
    hashes.push(sha256(...piece))
    piece = []
    pieceBytes = 0
  }
  try {
    for await (const read of createReadStream(path, { highWaterMark: PIECE_BYTES })) {
      let chunk: Uint8Array = read
      sizeBytes += chunk.length
      while (chunk.length > 0) {
        const room = PIECE_BYTES - pieceBytes
        take(chunk.subarray(0, room))
        chunk = chunk.subarray(room)
      }
    }
  } catch (error) {
    throw unreadable(path, error)
  }
  if (pieceBytes > 0) hashes.push(sha256(...piece))
  return { digest: blobDigestOf(sizeBytes, hashes), sizeBytes }
}

/** All files below a folder; undefined where it holds what no output may: links, too much. */
async function listFolder(root: string): Promise<FolderFile[] | undefined> {
  const files: FolderFile[] = []
  const queue = ['']
  for (let prefix = queue.shift(); prefix !== undefined; prefix = queue.shift()) {
    for await (const entry of await opendir(join(root, prefix))) {
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`
      const isTooDeep = path.split('/').length > FOLDER_LIMITS.depth + 1
      if (isTooDeep || files.length >= FOLDER_LIMITS.files) return undefined
      if (entry.isDirectory()) queue.push(path)
      else if (entry.isFile()) files.push({ path, ...(await hashFile(join(root, path))) })
      else return undefined
    }
  }
  return files
}

const SHOWN_KEYS_MAX = 20

function describe(report: AuditReport): string {
  const { problems } = report
  const lines = report.jobId === undefined ? [] : [formatPairs(pairsOf(report))]
  for (const { code, message } of problems) lines.push(`problem  ${code}: ${harmless(message)}`)
  if (report.code === 'unanchored') lines.push(...describeKeys(report))
  const verdict = report.ok || problems.length === 0 ? report.code : `failed (${report.code})`
  return [...lines, `audit: ${verdict}`].join('\n')
}

function pairsOf(report: AuditReport): Array<readonly [string, string]> {
  const { keys, result, dissenters } = report
  const known = keys.filter((key) => key.known).length
  return [
    ['job', `${report.jobId ?? ''} (${report.kind ?? ''}, network ${harmless(report.network)})`],
    [
      'checked',
      `${report.messages} messages, ${report.tasks} tasks, ${report.replicas} replicas, ` +
        `${report.artifacts} artifacts`,
    ],
    ['result', result === undefined ? 'none' : `hash ${result.hash}${accuracyOf(result.accuracy)}`],
    ['young', `${report.young} of ${report.tasks} tasks by the rules of young networks`],
    ['standings', standingsText(report)],
    ['keys', `${known} of ${keys.length} known to this machine`],
    ['dissenters', dissenters.length === 0 ? 'none' : dissenters.join(' ')],
  ]
}

function standingsText({ standings }: AuditReport): string {
  const { checked, elections, receipts } = standings
  if (receipts === undefined) {
    return `of ${elections} elections taken as the stewards signed them: no ${EVIDENCE_FILE} here`
  }
  return `${checked} of ${elections} elections weighed again from ${receipts} receipts`
}

function accuracyOf(accuracy: number | null): string {
  return accuracy === null ? '' : `, accuracy ${accuracy}`
}

function describeKeys({ keys }: AuditReport): string[] {
  const unknown = keys.filter((key) => !key.known)
  return [
    'Everything fits together, but not every task was agreed on by a key this machine has evidence',
    'about: anybody could have made such keys. The trust rests on these unknown keys:',
    ...unknown.slice(0, SHOWN_KEYS_MAX).map(({ peer, roles }) => `  ${peer}  ${roles.join(', ')}`),
    ...(unknown.length > SHOWN_KEYS_MAX ? [`  and ${unknown.length - SHOWN_KEYS_MAX} more`] : []),
    'Name those you trust with --trust PEER, or audit where a daemon has met them.',
  ]
}
