/**
 * The comparison of updates on real weights, in the task image on three code paths of this CPU: few
 * pairs here, 600 and more on all of them with `npm run tolerance`.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { reportOf } from '../../scripts/tolerance-report.js'
import { Study } from '../../scripts/tolerance-study.js'
import { Trainer } from '../../scripts/tolerance-train.js'
import type { ImageRef } from '../../src/container/container-runtime.js'
import { NEVER, ROOT, SKIP } from './harness.js'

test(
  'honest pairs of unlike code paths agree, and every cheat is found out',
  { skip: SKIP, timeout: 900_000 },
  async () => {
    const args = ['--import', 'tsx', 'scripts/build-image.ts', '--json']
    const options = { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 }
    const { stdout } = await promisify(execFile)(process.execPath, args, options)
    const { image }: { image: ImageRef } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
    const dir = await mkdtemp(join(tmpdir(), 'ctd-tolerance-'))
    const trainer = new Trainer({ image, dir, signal: NEVER })
    try {
      const wanted = { pairs: 10, cheats: 6, codePaths: 3 }
      const say = (): void => undefined
      const study = await Study.prepare({ ...wanted, seed: 'test', dir, trainer, say })
      await study.train()
      const report = reportOf(study, wanted)
      assert.ok(report.ok, JSON.stringify(report))
    } finally {
      await trainer.close()
      await rm(dir, { recursive: true, force: true })
    }
  },
)
