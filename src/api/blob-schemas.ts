/** What may be written to the endpoints of blobs and images, and what they answer. */
import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { API_LIMITS } from './limits.js'
import { relativePathSchema } from './schemas.js'

const DIGEST = /^[0-9a-f]{64}$/
const path = z
  .string()
  .max(4096)
  .refine((value) => isAbsolute(value), { error: 'must be an absolute path' })
const label = z
  .string()
  .max(255)
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'must not contain control characters')

/** Body of `POST /v1/folders`. */
export const folderSchema = z
  .array(z.strictObject({ path: relativePathSchema, digest: z.string().regex(DIGEST) }))
  .min(1)
  .max(API_LIMITS.folderEntries)
  .readonly()
export const linkSchema = z.strictObject({ path })
export const fetchSchema = z.strictObject({
  from: z
    .string()
    .regex(/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/, 'must be a peer id')
    .exactOptional(),
})
export const pinSchema = z.strictObject({ name: label.exactOptional() })
/** A digest, a CID, or how the digest of a held blob begins; judged by the daemon. */
export const blobParamsSchema = z.strictObject({ digest: z.string().min(1).max(128) })
export const blobListQuerySchema = z.strictObject({
  all: z.enum(['true', 'false']).exactOptional(),
})

export const addedSchema = z.looseObject({
  digest: z.string(),
  cid: z.string(),
  sizeBytes: z.number(),
  pieces: z.int(),
  isNew: z.boolean(),
})
export const folderResultSchema = z.looseObject({ digest: z.string(), cid: z.string() })
export const linkedSchema = z.looseObject({
  ...addedSchema.shape,
  files: z.int(),
  totalBytes: z.number(),
  totalPieces: z.int(),
  knownPieces: z.int(),
})
export const blobViewSchema = z.looseObject({
  digest: z.string(),
  cid: z.string(),
  kind: z.enum(['file', 'folder']),
  sizeBytes: z.number(),
  totalBytes: z.number(),
  files: z.int(),
  name: z.string(),
  isPinned: z.boolean(),
  addedMs: z.number().nullable(),
  isProvided: z.boolean(),
  heldBy: z.array(z.string()).readonly(),
})
export const blobDetailSchema = z.looseObject({
  ...blobViewSchema.shape,
  entries: z
    .array(z.looseObject({ path: z.string(), sizeBytes: z.number(), digest: z.string() }))
    .readonly(),
})
export const removedSchema = z.looseObject({ digest: z.string(), freedBytes: z.number() })
export const storageSchema = z.looseObject({
  quotaBytes: z.number(),
  usedBytes: z.number(),
  pinnedBytes: z.number(),
  heldBytes: z.number(),
  cacheBytes: z.number(),
  partialBytes: z.number(),
  rottenBytes: z.number(),
  freeDiskBytes: z.number(),
})

/** Body of `POST /v1/images`. */
export const addImageSchema = z.strictObject({
  archive: z.string().min(1).max(128),
  name: z.string().min(1).max(63).exactOptional(),
})
export const imageParamsSchema = z.strictObject({ name: z.string().min(1).max(128) })
export const imageViewSchema = z.looseObject({
  name: z.string(),
  tag: z.string(),
  configDigest: z.string(),
  manifestDigest: z.string(),
  sizeBytes: z.number(),
  inEngine: z.boolean(),
  inStore: z.boolean(),
  archiveBytes: z.number().nullable(),
  isLoaded: z.boolean(),
  usedMs: z.number().nullable(),
  isLeased: z.boolean(),
})
export const imageRemovedSchema = z.looseObject({ freedBytes: z.number() })
