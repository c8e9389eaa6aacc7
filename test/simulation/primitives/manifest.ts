/** Stands in for the manifest: the real one, judged and planned once for all simulated peers. */
import * as real from '../../../src/protocol/manifest.js'
import type { Plan } from '../../../src/protocol/plan.js'
import type { Opened } from '../../../src/wire/envelope.js'
import { Kept } from './kept.js'

export * from '../../../src/protocol/manifest.js'

const plans = new Kept<Plan>()

export function assertManifest(network: string, opened: Opened<'manifest'>): Plan {
  return plans.of(opened.id, () => real.assertManifest(network, opened))
}
