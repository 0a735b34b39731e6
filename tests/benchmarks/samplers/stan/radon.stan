data {
  int N;
  int J;
  array[N] int county;
  vector[N] floor_measure;
  vector[N] y;
}
parameters {
  real mu_alpha;
  real mu_beta;
  real<lower=0> sigma_alpha;
  real<lower=0> sigma_beta;
  vector[J] alpha_raw;
  vector[J] beta_raw;
  real<lower=0> sigma_y;
}
model {
  mu_alpha ~ normal(0, 10);
  mu_beta ~ normal(0, 10);
  sigma_alpha ~ normal(0, 1);
  sigma_beta ~ normal(0, 1);
  sigma_y ~ normal(0, 1);
  alpha_raw ~ std_normal();
  beta_raw ~ std_normal();
  vector[J] alpha = mu_alpha + sigma_alpha * alpha_raw;
  vector[J] beta = mu_beta + sigma_beta * beta_raw;
  y ~ normal(alpha[county] + floor_measure .* beta[county], sigma_y);
}
