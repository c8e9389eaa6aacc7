/** The byte-level tokenizer: three special ids, then one id a byte. Needs no files. */

/** A byte b is `byteOffset + b`. */
export const TOKEN = { padding: 0, start: 1, end: 2, byteOffset: 3, vocabulary: 259 } as const

/** Token ids of a text: start, its UTF-8 bytes cut to fit, end, padding. */
export function encodeText(text: string, maxLength: number): Int16Array {
  const bytes = new TextEncoder().encode(text).subarray(0, maxLength - 2)
  const ids = new Int16Array(maxLength).fill(TOKEN.padding)
  ids[0] = TOKEN.start
  for (const [i, byte] of bytes.entries()) ids[i + 1] = TOKEN.byteOffset + byte
  ids[bytes.length + 1] = TOKEN.end
  return ids
}
