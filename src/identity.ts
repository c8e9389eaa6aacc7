/** The peer's key: a 32-byte Ed25519 seed in a file of its own, outside the database. */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, open, readFile, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from './errors.js'
import { fromHex, toHex } from './wire/ids.js'

const FILE = 'identity.key'

/**
 * Reads the seed of a home, or makes one.
 *
 * @throws CtdError IDENTITY_INVALID, IDENTITY_EXPOSED when others can read it
 */
export async function loadIdentity(home: string): Promise<Uint8Array> {
  await mkdir(home, { recursive: true, mode: 0o700 })
  const path = join(home, FILE)
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new CtdError('IDENTITY_INVALID', `${path} cannot be read`, { cause: error })
  })
  if (text === undefined) return create(path)
  if (((await stat(path)).mode & 0o077) !== 0) {
    throw new CtdError('IDENTITY_EXPOSED', `${path} is readable by others`, {
      hint: `chmod 600 ${path}`,
    })
  }
  if (!/^[0-9a-f]{64}\n?$/.test(text)) {
    throw new CtdError('IDENTITY_INVALID', `${path} is not an identity`, {
      hint: 'restore it from a backup, or move it away to start as a new peer',
    })
  }
  return fromHex(text.trim())
}

/** Written whole or not at all: temporary file, sync, rename. */
async function create(path: string): Promise<Uint8Array> {
  const seed = new Uint8Array(randomBytes(32))
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(`${toHex(seed)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await chmod(temporary, 0o600)
  await rename(temporary, path)
  return seed
}
