/** A provider that sends every piece with one byte changed; its manifests are right. */
import { replaceIn, startTestBuild } from './start.js'

/** Longer than any manifest of the blobs that it is given. */
const PIECE_MIN_BYTES = 256 * 1024

await startTestBuild({
  transport: (real) =>
    replaceIn(real, {
      onStream: (serve) => {
        real.onStream((stream, from) =>
          serve(
            replaceIn(stream, {
              write: async (bytes) => {
                const sent = bytes.slice()
                const middle = sent.length >> 1
                if (sent.length >= PIECE_MIN_BYTES) sent[middle] = (sent[middle] ?? 0) ^ 1
                await stream.write(sent)
              },
            }),
            from,
          ),
        )
      },
    }),
})
