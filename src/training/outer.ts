/**
 * The outer step of a round, on part of a tensor, in place: Nesterov's momentum or plain averaging
 * over updates (DiLoCo, Douillard et al. 2023), or AdamW over gradients (synchronous training).
 * Double precision, one rounding to fp32 on store; only + - * / and sqrt.
 */

export interface InnerOptimiser {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
  /** Largest L2 norm of a gradient; larger ones are scaled down to it. */
  readonly clipNorm: number
}

export interface OuterOptimiser {
  readonly learningRate: number
  /** 0 is plain averaging (FedAvg); the momentum files are empty then. */
  readonly momentum: number
}

/** AdamW (Loshchilov and Hutter 2019) at a step of its own, counted from 1. */
export interface AdamStep extends InnerOptimiser {
  readonly step: number
  readonly learningRate: number
}

/** One Nesterov step in place. `mean` is the weighted mean of the updates, start minus end. */
export function applyOuterStep(step: {
  readonly weights: Float32Array
  readonly momentum: Float32Array
  readonly mean: Float64Array
  readonly outer: OuterOptimiser
}): void {
  const { weights, momentum, mean } = step
  const { learningRate, momentum: mu } = step.outer
  for (let i = 0; i < weights.length; i++) {
    const update = mean[i] ?? 0
    const velocity = Math.fround(mu * (momentum[i] ?? 0) + update)
    momentum[i] = velocity
    weights[i] = (weights[i] ?? 0) - learningRate * (update + mu * velocity)
  }
}

/**
 * One AdamW step in place. `mean` is the weighted mean of the gradients.
 *
 * @param clip - what the gradients are multiplied with, at most 1
 * @param isDecayed - weight decay spares what has one dimension: biases and layer norms
 */
export function applyAdamStep(given: {
  readonly weights: Float32Array
  readonly first: Float32Array
  readonly second: Float32Array
  readonly mean: Float64Array
  readonly adam: AdamStep
  readonly clip: number
  readonly isDecayed: boolean
}): void {
  const { weights, first, second, mean, clip } = given
  const { beta1, beta2, epsilon, learningRate, weightDecay, step } = given.adam
  const [correction1, correction2] = [1 - power(beta1, step), 1 - power(beta2, step)]
  const kept = given.isDecayed ? 1 - learningRate * weightDecay : 1
  for (let i = 0; i < weights.length; i++) {
    const gradient = clip * (mean[i] ?? 0)
    const m = Math.fround(beta1 * (first[i] ?? 0) + (1 - beta1) * gradient)
    const v = Math.fround(beta2 * (second[i] ?? 0) + (1 - beta2) * (gradient * gradient))
    first[i] = m
    second[i] = v
    const direction = m / correction1 / (Math.sqrt(v / correction2) + epsilon)
    weights[i] = kept * (weights[i] ?? 0) - learningRate * direction
  }
}

/** By products alone: engines may differ in the last bit of `**`. */
function power(base: number, exponent: number): number {
  let result = 1
  for (let i = 0; i < exponent; i++) result *= base
  return result
}
