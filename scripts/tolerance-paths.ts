/** The code paths that one CPU has: other instructions, other kernels, other orders of summation. */
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'

export interface CodePath {
  readonly name: string
  readonly about: string
  /** Over what `trainer.py` would set. */
  readonly env: Readonly<Record<string, string>>
  readonly threads: number
  readonly onednn: boolean
}

const ALONE = { env: {}, threads: 1, onednn: false } as const

/** Those of this machine, that of every task first. */
export async function codePaths(): Promise<readonly CodePath[]> {
  const has512 = /\bavx512f\b/.test(await readFile('/proc/cpuinfo', 'utf8').catch(() => ''))
  const avx512: CodePath = {
    ...ALONE,
    name: 'avx512',
    about: 'AVX-512 in torch and OpenBLAS',
    env: { ATEN_CPU_CAPABILITY: 'avx512', OPENBLAS_CORETYPE: 'SkylakeX' },
  }
  const threads: CodePath = {
    ...ALONE,
    name: 'threads',
    about: 'sums over two threads',
    env: { OMP_NUM_THREADS: '2', OPENBLAS_NUM_THREADS: '2' },
    threads: 2,
  }
  return [
    { ...ALONE, name: 'avx2', about: 'as every task: AVX2, one thread' },
    {
      ...ALONE,
      name: 'default',
      about: 'torch without vector instructions',
      env: { ATEN_CPU_CAPABILITY: 'default' },
    },
    {
      ...ALONE,
      name: 'sse',
      about: 'OpenBLAS for CPUs without AVX',
      env: { ATEN_CPU_CAPABILITY: 'default', OPENBLAS_CORETYPE: 'Nehalem' },
    },
    { ...ALONE, name: 'onednn', about: 'oneDNN kernels', onednn: true },
    ...(has512 ? [avx512] : []),
    ...(availableParallelism() > 1 ? [threads] : []),
  ]
}
