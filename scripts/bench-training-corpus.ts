/** The text that the training benchmark's language models learn. */
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../src/errors.js'
import { dataset } from './datasets.js'

/** Share of the rows that are trained on. */
const TAUGHT = 0.9

/**
 * A part of the King James Bible, so long that nine tenths of it are the tokens wanted.
 *
 * @param after - the part begins where that of so many tokens ends
 * @throws CtdError CORPUS_TOO_SHORT
 */
export async function corpus(dir: string, tokens: number, after = 0): Promise<string> {
  const path = join(dir, `kjv-${after}-${tokens}.txt`)
  const file = await open(await dataset('kjv.txt'))
  try {
    const bytes = Buffer.alloc(Math.ceil(tokens / TAUGHT) + 1)
    const { bytesRead } = await file.read(bytes, 0, bytes.length, Math.ceil(after / TAUGHT))
    if (bytesRead < bytes.length) {
      throw new CtdError('CORPUS_TOO_SHORT', `the text has ${bytesRead} bytes of ${bytes.length}`)
    }
    await writeFile(path, bytes)
    return path
  } finally {
    await file.close()
  }
}
