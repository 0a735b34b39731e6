// Stan's own NUTS behind four C functions: what CmdStan runs, with the draws written to memory instead of a text file.
// One such library is linked with each model. Nothing of it is copied: it calls stan::services.

#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <stan/callbacks/interrupt.hpp>
#include <stan/callbacks/stream_logger.hpp>
#include <stan/callbacks/structured_writer.hpp>
#include <stan/callbacks/writer.hpp>
#include <stan/io/empty_var_context.hpp>
#include <stan/io/json/json_data.hpp>
#include <stan/model/log_prob_grad.hpp>
#include <stan/model/model_base.hpp>
#include <stan/services/sample/hmc_nuts_diag_e_adapt.hpp>

stan::model::model_base &new_model(stan::io::var_context &data, unsigned int seed, std::ostream *messages);

namespace {

// Rows of seven sampler statistics (lp__, accept_stat__, stepsize__, treedepth__, n_leapfrog__, divergent__, energy__), then values.
class Memory : public stan::callbacks::writer {
 public:
  Memory(double *to, std::size_t columns) : to_(to), columns_(columns) {}
  using stan::callbacks::writer::operator();
  void operator()(const std::vector<double> &row) override {
    for (std::size_t i = 0; i < columns_; ++i) *to_++ = row[i];
  }

 private:
  double *to_;
  std::size_t columns_;
};

// Stan's tape, of which each thread needs its own before it differentiates.
void have_a_tape() { static thread_local stan::math::ChainableStack tape; }

}  // namespace

extern "C" {

void *load(const char *path) {
  std::ifstream file(path);
  stan::json::json_data data(file);
  return &new_model(data, 1, &std::cerr);
}

std::uint64_t dim(void *model) { return static_cast<stan::model::model_base *>(model)->num_params_r(); }

// The names of the constrained values, one a line.
std::uint64_t names(void *model, char *to, std::uint64_t room) {
  std::vector<std::string> all;
  static_cast<stan::model::model_base *>(model)->constrained_param_names(all, false, false);
  std::string joined;
  for (const auto &name : all) joined += name + "\n";
  return joined.copy(to, room);
}

// What samplers that take a density by its address call.
std::int64_t density(std::uint64_t dim, const double *position, double *gradient, double *value, void *model) {
  have_a_tape();
  try {
    Eigen::VectorXd x = Eigen::Map<const Eigen::VectorXd>(position, dim), g(dim);
    *value = stan::model::log_prob_grad<true, true>(*static_cast<stan::model::model_base *>(model), x, g);
    Eigen::Map<Eigen::VectorXd>(gradient, dim) = g;
    return 0;
  } catch (const std::exception &) {
    return 1;
  }
}

void constrain(void *model, const double *position, double *values) {
  auto *m = static_cast<stan::model::model_base *>(model);
  stan::rng_t rng = stan::services::util::create_rng(1, 1);
  Eigen::VectorXd x = Eigen::Map<const Eigen::VectorXd>(position, m->num_params_r()), all;
  m->write_array(rng, x, all, false, false);
  Eigen::Map<Eigen::VectorXd>(values, all.size()) = all;
}

// All draws, of warmup too, to draws [num_warmup + num_draws, 7 + number of names]; 0 where it went well. CmdStan's defaults.
int sample(void *model, unsigned int seed, unsigned int chain, int num_warmup, int num_draws, double target, double *draws) {
  have_a_tape();
  auto *m = static_cast<stan::model::model_base *>(model);
  stan::io::empty_var_context nothing;
  auto metric = stan::services::util::create_unit_e_diag_inv_metric(m->num_params_r());
  stan::callbacks::interrupt interrupt;
  std::ostringstream log;
  stan::callbacks::stream_logger logger(log, log, log, log, log);
  std::vector<std::string> all;
  m->constrained_param_names(all, false, false);
  stan::callbacks::writer none;
  stan::callbacks::structured_writer no_metric;
  Memory memory(draws, 7 + all.size());
  return stan::services::sample::hmc_nuts_diag_e_adapt(
      *m, nothing, metric, seed, chain, 2.0, num_warmup, num_draws, 1, true, 0, 1.0, 0.0, 10, target, 0.05, 0.75, 10.0, 75, 50, 25,
      interrupt, logger, none, memory, none, no_metric);
}
}
