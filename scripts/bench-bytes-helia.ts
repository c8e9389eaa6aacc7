/**
 * Helia in the bench of bytes: installed when the bench runs, in a folder of its own, for it weighs
 * more than all of this project.
 */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { errorMessage } from '../src/errors.js'
import { copyWith } from './bench-bytes-raw.js'
import type { ByteSystem, Pattern } from './bench-bytes-sample.js'

const WORKER = 'bench-bytes-helia.mjs'
const INSTALL_MS = 300_000
const exec = promisify(execFile)

const PACKAGES = {
  helia: '7.1.15',
  '@helia/bitswap': '4.0.19',
  '@helia/libp2p': '2.1.4',
  '@helia/unixfs': '8.0.5',
  '@libp2p/identify': '4.1.14',
  '@libp2p/kad-dht': '16.4.5',
  '@libp2p/noise': '17.0.3',
  '@libp2p/ping': '3.1.13',
  '@libp2p/tcp': '11.0.28',
  '@libp2p/yamux': '8.0.3',
  '@multiformats/multiaddr': '13.0.3',
  'blockstore-fs': '4.0.1',
  'datastore-core': '12.0.1',
  multiformats: '14.0.5',
}

let folder = ''

export const HELIA: ByteSystem = {
  name: 'helia',
  title: `Helia ${PACKAGES.helia}, a session where there are several providers`,
  prepare,
  sizeFor,
  copy: (task) => copyWith([join(folder, WORKER)], task, folder),
}

async function prepare(dir: string): Promise<string | undefined> {
  folder = join(dir, 'helia')
  await mkdir(folder)
  const manifest = {
    private: true,
    type: 'module',
    dependencies: PACKAGES,
    // The undici it asks for does not load on Node 20.
    overrides: { undici: '6.21.3' },
  }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  await copyFile(join(import.meta.dirname, WORKER), join(folder, WORKER))
  try {
    const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
    await exec('npm', args, { cwd: folder, timeout: INSTALL_MS })
    return undefined
  } catch (error) {
    return `npm could not install it: ${errorMessage(error).split('\n').at(-1) ?? ''}`
  }
}

/** It needs minutes for what takes others seconds. */
function sizeFor({ providers, fetchers, byDht }: Pattern, mib: number): number | string {
  if (byDht) return 'its providers are in its DHT in every pattern'
  return Math.min(mib, 256 / (Math.min(providers, 2) * 2 * fetchers))
}
