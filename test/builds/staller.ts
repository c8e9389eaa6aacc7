/** A provider that gives two right pieces on each stream and then falls silent, without leaving. */
import { replaceIn, startTestBuild } from './start.js'

const PIECE_MIN_BYTES = 256 * 1024
const PIECES = 2

await startTestBuild({
  transport: (real) =>
    replaceIn(real, {
      onStream: (serve) => {
        real.onStream((stream, from) => {
          let pieces = 0
          return serve(
            replaceIn(stream, {
              write: async (bytes) => {
                if (bytes.length >= PIECE_MIN_BYTES) pieces += 1
                if (pieces > PIECES) return new Promise<void>(() => undefined)
                await stream.write(bytes)
              },
            }),
            from,
          )
        })
      },
    }),
})
