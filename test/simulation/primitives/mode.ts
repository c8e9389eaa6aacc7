/** Which primitives the running schedule uses. One schedule runs at a time in a process. */
import type { Random } from '../random.js'

export const mode: {
  /** Signatures, VRFs and every computation are done in full by every peer. */
  isReal: boolean
  random: Random | undefined
} = {
  isReal: true,
  random: undefined,
}
