/** A small made-up dataset for each family, learnt in seconds; the same every time. */
import type { DataFormat } from '../../src/training/data/source.js'

export interface FamilyJob {
  readonly model: string
  readonly dataset: string
  readonly format: DataFormat
  readonly epochs: number
  readonly maxLength: number
  readonly batchSize?: number
  readonly learningRate?: number
  /** The figure to beat, and whether more of it is better. */
  readonly figure: 'accuracy' | 'loss' | 'mrr'
}

/** Numbers from 0 to below 1 (Park and Miller's generator), for data alone. */
function generator(): () => number {
  let state = 12_345
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

/** Four topics of six words each; a sentence keeps to its topic. */
const TOPICS = [
  ['sea', 'ship', 'sail', 'wave', 'port', 'crew'],
  ['field', 'corn', 'plough', 'seed', 'barn', 'rain'],
  ['king', 'crown', 'throne', 'sword', 'court', 'law'],
  ['stone', 'wall', 'gate', 'tower', 'brick', 'roof'],
]

function sentences(count: number): readonly string[] {
  const next = generator()
  return Array.from({ length: count }, () => {
    const topic = TOPICS[Math.floor(next() * TOPICS.length)] ?? []
    return Array.from({ length: 12 }, () => topic[Math.floor(next() * topic.length)]).join(' ')
  })
}

function pairs(count: number): string {
  const rows = sentences(count).map((sentence, i) => {
    const words = sentence.split(' ')
    return `${words.slice(0, 4).join(' ')} ${i},${words.slice(2, 6).join(' ')} ${i}`
  })
  return ['anchor,positive', ...rows].join('\n')
}

/** Three clouds of points that overlap a little, and a column of noise. */
function points(count: number): string {
  const next = generator()
  const noise = () => next() + next() + next() - 1.5
  const rows = Array.from({ length: count }, (_, i) => {
    const x = [i % 3, (i * i) % 3, 0].map((centre) => (centre + noise()).toFixed(3))
    return [...x, 'abc'[i % 3]].join(',')
  })
  return ['x,y,noise,label', ...rows].join('\n')
}

/** Images of 8 x 8 pixels with one bright quarter, which is the class. */
function images(count: number): string {
  const next = generator()
  const header = ['label', ...Array.from({ length: 64 }, (_, i) => `pixel${i}`)]
  const rows = Array.from({ length: count }, (_, i) => {
    const pixels = Array.from({ length: 64 }, (_pixel, at) => {
      const quarter = (at % 8 < 4 ? 0 : 1) + (at < 32 ? 0 : 2)
      return Math.floor(next() * 120) + (quarter === i % 4 ? 90 : 0)
    })
    return [i % 4, ...pixels].join(',')
  })
  return [header.join(','), ...rows].join('\n')
}

const text = sentences(400).join('\n')

export const FAMILY_JOBS: readonly FamilyJob[] = [
  {
    model: 'gpt-tiny',
    dataset: text,
    format: 'txt',
    epochs: 1,
    maxLength: 32,
    figure: 'loss',
  },
  {
    model: 'embed-tiny',
    dataset: pairs(200),
    format: 'csv',
    epochs: 1,
    maxLength: 40,
    figure: 'mrr',
  },
  {
    model: 'word2vec-small',
    dataset: text,
    format: 'txt',
    epochs: 3,
    maxLength: 12,
    batchSize: 16,
    figure: 'mrr',
  },
  {
    model: 'cnn-small',
    dataset: images(240),
    format: 'csv',
    epochs: 3,
    maxLength: 128,
    figure: 'accuracy',
  },
  {
    model: 'image-mlp',
    dataset: images(240),
    format: 'csv',
    epochs: 3,
    maxLength: 128,
    figure: 'accuracy',
  },
  {
    model: 'mlp',
    dataset: points(240),
    format: 'csv',
    epochs: 3,
    maxLength: 128,
    figure: 'accuracy',
  },
]
