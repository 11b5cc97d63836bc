terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80.0"
    }
  }
}

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

data "aws_bedrock_inference_profile" "source" {
  inference_profile_id = "us.amazon.nova-lite-v1:0"
}

data "aws_bedrock_inference_profiles" "all" {
  # What it lists must not depend on which of the two terraform happens to do first.
  depends_on = [aws_bedrock_inference_profile.team]
}

resource "aws_bedrock_inference_profile" "team" {
  name        = "checkout team"
  description = "Pays for checkout"

  model_source {
    copy_from = data.aws_bedrock_inference_profile.source.inference_profile_arn
  }

  tags = {
    team = "checkout"
  }
}

resource "aws_bedrock_provisioned_model_throughput" "units" {
  provisioned_model_name = "checkout-units"
  model_arn              = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:24k"
  model_units            = 2

  tags = {
    team = "checkout"
  }
}

output "profile_arn" {
  value = aws_bedrock_inference_profile.team.arn
}

output "units_arn" {
  value = aws_bedrock_provisioned_model_throughput.units.provisioned_model_arn
}

output "listed" {
  value = length(data.aws_bedrock_inference_profiles.all.inference_profile_summaries)
}
