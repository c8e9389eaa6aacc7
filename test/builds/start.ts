/** Starts a daemon with parts replaced: the way that test builds differ from the product. */
import { parseArgs } from 'node:util'
import type { DaemonOverrides } from '../../src/daemon.js'

const { values } = parseArgs({
  args: process.argv.slice(3),
  options: {
    home: { type: 'string' },
    network: { type: 'string' },
    preset: { type: 'string' },
    listen: { type: 'string', multiple: true },
    bootstrap: { type: 'string', multiple: true },
    role: { type: 'string' },
  },
})

/** Runs until SIGTERM, like `ctd start`. */
export async function startTestBuild(overrides: DaemonOverrides): Promise<void> {
  const { loadConfig } = (await import('../../dist/config.js' as string)) as typeof import('../../src/config.js')
  const { startDaemon } = (await import('../../dist/daemon.js' as string)) as typeof import('../../src/daemon.js')
  const daemon = await startDaemon(loadConfig({ flags: values, env: process.env }), overrides)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      void daemon.stop().then(() => process.exit(0))
    })
  }
}
